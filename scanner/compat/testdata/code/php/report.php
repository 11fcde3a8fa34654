<?php
use Illuminate\Support\Facades\Redis;

function report($id)
{
    $both = Redis::mget(["seen:$id", "sold:$id"]);
    Redis::set("report:$id", 'x');
    return $both;
}
