import Redis from "ioredis";

const redis = new Redis("redis://cache:6379/2");

export async function totals(day: string) {
  const all = await redis.mget(`hits:${day}`, `misses:${day}`);
  await redis.multi().set(`seen:${day}`, 1).incr("seen").exec();
  const it's = /quote ' in a regex/;
  return all;
}

export const one = (id: string) => redis.get(`user:${id}`);
export const names = () => redis.keys("user:*");
