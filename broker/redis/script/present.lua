-- KEYS: of a topic, who is present: by ref the node, a newline and what is told of it. The
-- field '' is the number of the last change.
-- ARGV: the channel, the node, what it announces, how many refs join, each with its value,
-- and those that leave. With nothing to announce all of the node leave.
local call = redis.call
if redis.replicate_commands then redis.replicate_commands() end
local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]
local who, channel, node, told = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
call('HDEL', who, '?') -- as in beat.lua: in an engine that is full, too
local last = tonumber(call('HGET', who, '') or 0)
local gone = told == ''
if gone then
	local all, n = call('HGETALL', who), 0
	for i = 1, #all, 2 do
		if all[i] ~= '' and string.sub(all[i + 1], 1, #node + 1) == node .. '\n' then
			call('HDEL', who, all[i])
			n = n + 1
		end
	end
	if n == 0 then return 0 end
else
	local joins = tonumber(ARGV[4])
	for i = 5, 4 + 2 * joins, 2 do call('HSET', who, ARGV[i], ARGV[i + 1]) end
	for i = 5 + 2 * joins, #ARGV do call('HDEL', who, ARGV[i]) end
end
local change = now
if change <= last then change = last + 1 end
local function int(n) return string.format('%.0f', n) end
call('HSET', who, '', int(change))
if call('HLEN', who) == 1 then call('PEXPIRE', who, 3600000) else call('PERSIST', who) end
call('PUBLISH', channel, table.concat({gone and 'G' or 'P', int(last), int(change), node}, ' ') .. '\n' .. told)
return 1
