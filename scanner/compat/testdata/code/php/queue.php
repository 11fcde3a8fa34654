<?php
$predis = new Predis\Client(['scheme' => 'tcp', 'database' => 4]);
$redis = new Redis();
$redis->connect('cache');
$redis->select(1); # another database
$job = $redis->rPopLPush('queue:todo', 'queue:doing');
$redis->set("job:{$job}", 'x'); // one key
$redis->rawCommand('BITOP', 'AND', 'b:all', "b:$job");
