local nonce, attempt, o, channel = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
if late(nonce, attempt) then return {'late'} end
if o == '0' then
	if top > 0 then forget() end
elseif not redact(o) then
	-- An attempt before this one may have done it.
	if attempt == 1 or #call('ZRANGEBYSCORE', redacted, o, o) == 0 then return {'not found'} end
end
call('PUBLISH', channel, 'E ' .. o)
return {'ok'}
