-- /etc/powerdns/plustwo.lua; in recursor.lua: dofile("/etc/powerdns/plustwo.lua")
-- The root proves that `internal` does not exist, and what is below is not signed.
addNTA("amazonaws.com")
addNTA("api.aws")
addNTA("on.aws")
addNTA("compute.internal")
addNTA("shop.internal")
addNTA("0.10.in-addr.arpa")
