-- bury has what is known of a node be something else, or nothing, if it was heard last at a time.
local is = redis.call('HGET', KEYS[1], ARGV[1])
if not is or string.sub(is, 1, #ARGV[2] + 1) ~= ARGV[2] .. ' ' then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
return 1
