--[[
  Reads whole parked tasks.

  KEYS[1]  root of the store's keys

  ARGV[1…] keys

  Returns  one list per key: the hash that it is filtered by as JSON, the rest of its message as JSON, the body; an empty
           list if it is not there
]]
-- include parked

local rows = {}
for i = 1, #ARGV do rows[i] = parked_row(ARGV[i]) end
return rows
