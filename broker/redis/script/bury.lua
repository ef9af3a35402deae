-- bury takes a node that was heard last at a time out of the list, unless it was heard since.
local is = redis.call('HGET', KEYS[1], ARGV[1])
if is and string.sub(is, 1, #ARGV[2] + 1) == ARGV[2] .. ' ' then return redis.call('HDEL', KEYS[1], ARGV[1]) end
return 0
