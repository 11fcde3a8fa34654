require "redis"

class Cache
  def initialize
    @redis = Redis.new(url: ENV["REDIS_URL"])
  end

  def copy(id)
    @redis.rename("draft:#{id}", "post:#{id}")
    @redis.mget "post:#{id}:title", "post:#{id}:body"
    @redis.multi do |tx|
      tx.set("a", 1)
    end
    @redis.get("post:#{id}")
  end
end
