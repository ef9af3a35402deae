local nonce, attempt, since, random = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local when, newKeep, newAge = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local key, head, payload, erases, from, channel = ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12], ARGV[13]

-- search looks for what an attempt before this one may have published. It goes from message
-- to message until it comes to one that was published before that, or to one that is no
-- longer kept: that may be it.
local function search()
	local before, current, n, upper = now - since - 5000000, top, 0, '+'
	local function gone()
		if current == 0 or current < before and top <= now then return nil end
		return 'unknown'
	end
	while n < 20000 do
		local list = call('XREVRANGE', stream, upper, '-', 'COUNT', 100)
		if #list == 0 then return gone() end
		for _, e in ipairs(list) do
			if tonumber(offset(e)) ~= current then return gone() end
			local name, published = named(e)
			if name == nonce then return e end
			n = n + 1
			-- Clocks of two machines differ, and there may be another one by now.
			if n > 1000 and published < before then return nil end
			upper, current = int(current - 1) .. '-0', prev(e)
		end
	end
	return 'unknown'
end

if late(nonce, attempt) then return {'late'} end
if attempt > 1 then
	local e = search()
	if e == 'unknown' then return {'unknown'} end
	if e then return {'ok', offset(e)} end
end

local changed = not known[1] or newKeep ~= keep or newAge ~= age
local swept = tonumber(known[5]) or 0
if age > 0 and (changed or now - swept > 1000000 or swept > now) then
	expire() -- by the old age: what has aged must not come back
	swept = now
end
if key ~= '' then
	local o = call('HGET', keys, key)
	local e = o and at(o)
	if e and not aged(e) then return {'key', o, e[2][2], e[2][4]} end
end
if erases == 'all' then
	if top == 0 then return {'not found'} end
	forget()
	known[6] = nil
elseif erases ~= '' then
	if not redact(erases) then return {'not found'} end
end

-- To make a text of a number takes as long as a call of something small.
local text = int(now)
local before = known[1] or int(top)
local latest = tonumber(known[4]) or 0
if not when or when > now then when = now end
if when < latest then
	local last = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
	if last and when < said(last) then when = said(last) end
end
local o = text
if now <= top then o = int(top + 1 + random) end
when = when == now and text or int(when)

local message = before .. ' ' .. when .. ' ' .. text .. ' ' .. #nonce .. ' ' .. #key .. ' ' .. nonce .. key .. head
if key ~= '' then more() end
local function oldest()
	if newKeep > 0 then drop(call('XLEN', stream) + 1 - newKeep, function() return true end) end
end
local added
if known[9] then
	oldest()
	added = redis.pcall('XADD', stream, o .. '-0', 'm', message, 'd', payload)
elseif newKeep > 0 then
	added = redis.pcall('XADD', stream, 'MAXLEN', newKeep, o .. '-0', 'm', message, 'd', payload)
else
	added = redis.pcall('XADD', stream, o .. '-0', 'm', message, 'd', payload)
end
if type(added) == 'table' and added.err and newKeep > 0 and string.find(added.err, 'OOM', 1, true) then
	oldest() -- which leaves room
	added = redis.pcall('XADD', stream, o .. '-0', 'm', message, 'd', payload)
end
if type(added) == 'table' and added.err then return added end
call('HSET', meta, 'top', o, 'at', when)
if swept ~= (tonumber(known[5]) or 0) then call('HSET', meta, 'swept', int(swept)) end
if key ~= '' then
	call('HSET', keys, key, o)
	if newAge > 0 then call('PEXPIRE', keys, int(newAge / 1000 + slack)) end
end
if top == 0 then call('HSET', meta, 'begin', o) end
keep, age = newKeep, newAge
if changed then call('HSET', meta, 'keep', int(keep), 'age', int(age)) end
local set = tonumber(known[6]) or 0
if changed or now - set > 60000000 or set > now then
	if age > 0 then
		call('PEXPIRE', stream, int(age / 1000 + slack))
		call('PEXPIRE', meta, int(age / 1000 + remembered))
	else
		for _, name in ipairs({stream, meta, keys, redacted}) do call('PERSIST', name) end
	end
	call('HSET', meta, 'set', int(now))
end
if age > 0 and (changed or tonumber(when) <= now - age) then expire() end

local line = 'M ' .. o .. ' ' .. before .. ' ' .. when .. ' ' .. (erases == '' and '0' or erases) .. ' ' .. #head .. ' ' .. #from .. ' ' .. #key .. '\n'
call('PUBLISH', channel, line .. head .. from .. key .. payload)
return {'ok', o}
