-- The rates of the return, in tasks per second.
local function first_rate(record)
  return policy.return_rate > 0 and policy.return_rate or math.max(record.steady * FIRST_SHARE, LEAST_RATE)
end

local function top_rate(record)
  return math.max(math.max(record.steady, LEAST_RATE) * (policy.return_peak - 1), first_rate(record))
end
