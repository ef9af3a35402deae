-- An answer is the top, whether the page is complete, whether there is more, and of each
-- message the offset, m and d.
local newest, from, limit, bytes = ARGV[1] == 'newest', ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local tidied = tidy()
local answer = {int(top), '0', '0'}
if ARGV[1] == 'top' then return answer end

local size, n, more, first = 0, 0, false, nil
local lower, upper = from, '+'
if newest then lower, upper = '-', from end
while lower do
	local chunk = limit > 0 and math.min(limit + 1 - n, 100) or 100
	local list = newest and call('XREVRANGE', stream, upper, lower, 'COUNT', chunk) or call('XRANGE', stream, lower, upper, 'COUNT', chunk)
	for _, e in ipairs(list) do
		local f = e[2]
		if tidied or not aged(e) then
			size = size + #f[4]
			if limit > 0 and n == limit or bytes > 0 and size > bytes and n > 0 then
				more, lower = true, nil
				break
			end
			n = n + 1
			first = first or e
			local i = #answer
			answer[i + 1], answer[i + 2], answer[i + 3] = offset(e), f[2], f[4]
		end
	end
	if #list < chunk then break end
	if lower then
		local last = tonumber(offset(list[#list]))
		if newest then upper = int(last - 1) .. '-0' else lower = int(last + 1) .. '-0' end
	end
end

local complete
if newest then
	-- It has a beginning if the oldest that is kept leads back to it.
	local oldest = call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
	complete = not (oldest and aged(oldest)) and linked(0, nil, oldest and prev(oldest) or top)
	local before = tonumber(ARGV[5])
	if before > 0 and before < (tonumber(known[8]) or math.huge) then complete = false end
else
	local after = tonumber(ARGV[5])
	if after >= top then
		complete = after == top
	elseif first then
		complete = linked(after, tonumber(offset(first)), prev(first))
	else
		complete = linked(after, nil, top)
	end
end
answer[2], answer[3] = complete and '1' or '0', more and '1' or '0'
return answer
