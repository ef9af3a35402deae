-- adopt adds a node to the list, as one that was heard now, unless it is there.
local call = redis.call
if redis.replicate_commands then redis.replicate_commands() end
local clock = call('TIME')
if call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 0 end
call('HDEL', KEYS[1], '') -- as in beat.lua
return call('HSET', KEYS[1], ARGV[1], string.format('%.0f', clock[1] * 1000000 + clock[2]) .. ' ' .. ARGV[2])
