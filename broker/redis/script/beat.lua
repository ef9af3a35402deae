-- KEYS: of each node when it was heard last, in µs, and what it says of itself.
-- ARGV: this node, and what it says; without one nothing is said.
-- An answer is when this node was heard before, or 0 if it is not known, or by others only, the time, and what is known of each.
local call = redis.call
if redis.replicate_commands then redis.replicate_commands() end
local clock = call('TIME')
local now = string.format('%.0f', clock[1] * 1000000 + clock[2])
local before = '0'
if ARGV[1] ~= '' then
	local is = call('HGET', KEYS[1], ARGV[1]) or ''
	if string.sub(is, -2) ~= ' ?' then before = string.match(is, '^%d+') or before end
	-- An engine that is full refuses what adds, unless the script has removed something, or
	-- tried to. Nodes must not be taken to be gone, and with them all who are present.
	call('HDEL', KEYS[1], '')
	call('HSET', KEYS[1], ARGV[1], now .. ' ' .. ARGV[2])
end
local answer = call('HGETALL', KEYS[1])
table.insert(answer, 1, now)
table.insert(answer, 1, before)
return answer
