-- Counts in the record of an operation what has become of one of its letters, while there is such a record.
local function tell(operation, what)
  if operation and operation ~= '' and redis.call('EXISTS', operation_key(operation)) == 1 then
    redis.call('HINCRBY', operation_key(operation), what, 1)
  end
end

-- The end of a replay. One that was never noted as published was, all the same.
local function tell_end(letter, what)
  if letter.state == 'retry' then tell(letter.operation, 'done') end
  if letter.state == 'retry' or letter.state == 'replayed' then tell(letter.operation, what) end
end
