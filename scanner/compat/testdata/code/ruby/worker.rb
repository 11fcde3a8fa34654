class Worker
  def perform(id)
    $redis.del("job:#{id}", "lock:#{id}")
    $redis.get("job:#{id}")
  end
end
