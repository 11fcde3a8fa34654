package shop;

import org.springframework.data.redis.core.StringRedisTemplate;
import redis.clients.jedis.JedisPool;
import redis.clients.jedis.Jedis;

class Cart {
    private final JedisPool pool = new JedisPool("cache", 6379);
    private final StringRedisTemplate template;

    String merge(String a, String b) {
        try (Jedis jedis = pool.getResource()) {
            jedis.sunionstore("cart:all", "cart:" + a, "cart:" + b);
            jedis.set("cart:" + a, "x");
            return jedis.rename("cart:" + a, "cart:old:" + a);
        }
    }

    void read() {
        template.opsForValue().multiGet(java.util.Arrays.asList("a", "b"));
        template.convertAndSend("news", "hello");
    }
}
