import os
import redis

r = redis.Redis(host="cache", db=3)  # MGET in a comment: r.mget("no", "no")

INCREMENT = """
local n = redis.call('INCR', KEYS[1])
redis.call('SET', 'last:' .. ARGV[1], n)  -- undeclared
return n
"""


def names(a, b):
    return r.mget(f"user:{a}:name", f"user:{b}:name")


def together(user):
    return r.mget(f"{{user:{user}}}:name", f"{{user:{user}}}:mail")


def one(user):
    r.set("user:%s" % user, 1)
    r.delete("user:{}".format(user))
    os.rename("a", "b")
    return r.get(f"user:{user}")


def move(old, new):
    with r.pipeline() as pipe:
        pipe.rename(old, new)
        pipe.execute()


def wait():
    return r.blpop(["jobs:high", "jobs:low"], timeout=5)


def pop():
    return r.blpop("jobs", 5)


def tidy(keys):
    r.delete(*keys)
    r.execute_command("SUNIONSTORE", "all", "some")
    for k in r.scan_iter("user:*"):
        print(k)
