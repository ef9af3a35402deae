-- list adds to a set, also in an engine that is full: see beat.lua.
redis.call('SREM', KEYS[1], ARGV[1])
return redis.call('SADD', KEYS[1], ARGV[1])
