const { redis } = require('./client');

exports.publish = (id) => redis.rename(`draft:${id}`, `live:${id}`);
