const { redis } = require('./client');

redis.psubscribe('__keyevent@0__:expired');
exports.publish = (id) => redis.rename(`draft:${id}`, `live:${id}`);
