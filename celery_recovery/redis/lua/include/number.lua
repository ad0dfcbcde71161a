-- Is it the text of a finite number? What is none must reach no index: Redis refuses it in the middle of a script.
local function is_number(text)
  local number = tonumber(text or '')
  return number ~= nil and number == number and math.abs(number) < math.huge
end
