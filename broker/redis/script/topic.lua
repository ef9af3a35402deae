-- What every script of a topic begins with. Numbers are below 2^53, so that Lua has them
-- exactly. A message is an entry of the stream, whose ID is its offset, with the fields
--   m  the offset of the message that the topic was given before it, when it was said and
--      when it was published, in µs, the lengths of the name of that attempt and of the
--      key, each with a space behind it; then the name, the key, and the event and flags
--   d  the payload
-- What has many fields costs a script more than the rest of it.
-- KEYS: the stream; what is known of the topic; the offsets of keys; of each message that
-- was redacted its offset and that of the one before it; the attempts that were made again.
local stream, meta, keys, redacted, fence = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local call = redis.call
if redis.replicate_commands then redis.replicate_commands() end -- Redis 6 asks for it
local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]
local remembered = 30 * 24 * 3600 * 1000 -- ms, after the last message
local slack = 120 * 1000                 -- ms that an expiry may be older than the last message

local function int(n) return string.format('%.0f', n) end
local function offset(e) return string.sub(e[1], 1, -3) end
local function prev(e) return tonumber(string.match(e[2][2], '^%d+')) end
local function said(e) return tonumber(string.match(e[2][2], '^%d+ (%-?%d+)')) end
local function named(e) -- the name, when it was published, and the key
	local m = e[2][2]
	local published, n, k, from = string.match(m, '^%d+ %-?%d+ (%d+) (%d+) (%d+) ()')
	return string.sub(m, from, from + n - 1), tonumber(published), string.sub(m, from + n, from + n + k - 1)
end
local function at(o) return call('XRANGE', stream, o .. '-0', o .. '-0')[1] end

local known = call('HMGET', meta, 'top', 'keep', 'age', 'at', 'swept', 'set', 'fence', 'begin', 'more')
local top, keep, age = tonumber(known[1]), tonumber(known[2]) or 0, tonumber(known[3]) or 0
if not top then -- nothing is known, or an engine that is full has dropped it
	local last = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
	top = last and tonumber(offset(last)) or 0
end

local function aged(e) return age > 0 and said(e) <= now - age end

local function free(e)
	local _, _, key = named(e)
	if key ~= '' and call('HGET', keys, key) == offset(e) then call('HDEL', keys, key) end
end

-- more notes that the topic has keys or redactions, which go with its messages. Others are
-- trimmed by XADD, which takes a third of the time.
local function more()
	if not known[9] then call('HSET', meta, 'more', 1) end
	known[9] = '1'
end

-- drop trims the oldest n at most for as long as which says so of one.
local function drop(n, which)
	local last
	local chunk = 1
	while n > 0 do
		local list = call('XRANGE', stream, '-', '+', 'COUNT', math.min(n, chunk))
		local gone
		for _, e in ipairs(list) do
			if not which(e) then
				n = 0
				break
			end
			free(e)
			gone = offset(e)
		end
		if not gone then break end
		last, n, chunk = gone, n - #list, 50
		call('XTRIM', stream, 'MINID', int(tonumber(gone) + 1) .. '-0')
	end
	if last then call('ZREMRANGEBYSCORE', redacted, '-inf', '(' .. last) end
end

local function expire() if age > 0 then drop(math.huge, aged) end end

-- Where nothing may be written, as when a disk is full, what has aged is there still.
local function tidy() return (pcall(expire)) end

local function redact(o)
	local e = at(o)
	if not e or aged(e) then return false end
	call('XDEL', stream, e[1])
	free(e)
	more()
	call('ZADD', redacted, o, o .. ':' .. int(prev(e)))
	if call('ZCARD', redacted) > 10000 then call('ZREMRANGEBYRANK', redacted, 0, 0) end
	if age > 0 then call('PEXPIRE', redacted, int(remembered + age / 1000)) end
	return true
end

local function forget()
	call('DEL', stream, keys, redacted)
	call('HSET', meta, 'set', 0)
	call('PEXPIRE', meta, remembered)
end

-- linked reports whether nothing is missing between the position after and the message at
-- o, which follows p: what is not kept between them was redacted.
local function linked(after, o, p)
	while true do
		if p == after or o and o - 1 == after then return true end
		if p < after then return false end
		local r = call('ZRANGEBYSCORE', redacted, int(p), int(p))[1]
		if not r then return false end
		o, p = p, tonumber(string.match(r, ':(%d+)'))
	end
end

-- An attempt whose answer did not come may still be on its way when it is made again. Then
-- it must do nothing.
local function late(nonce, attempt)
	if attempt > 1 then
		call('HSET', fence, nonce, attempt)
		call('PEXPIRE', fence, 600000)
		call('HSET', meta, 'fence', int(now))
		if top == 0 then call('PEXPIRE', meta, remembered) end
		return false
	end
	if not known[7] or now - known[7] > 600000000 then return false end
	return (tonumber(call('HGET', fence, nonce)) or 0) > attempt
end
