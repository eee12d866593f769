-- /etc/knot-resolver/plustwo.lua; at the end of kresd.conf: dofile('/etc/knot-resolver/plustwo.lua')
local domains = policy.todnames({
    'ap-northeast-2.amazonaws.com',
    'ap-northeast-2.vpce.amazonaws.com',
    'ap-northeast-2.api.aws',
    'ap-northeast-2.on.aws',
    'ap-northeast-2.compute.internal',
    '0.10.in-addr.arpa',
    'shop.internal',
})
-- The answers are private addresses: the module `rebinding`, where it is loaded, must let them through.
policy.add(policy.suffix(policy.FLAGS({ 'ALLOW_LOCAL' }), domains))
-- STUB, not FORWARD, which validates: the root proves that `internal` does not exist.
policy.add(policy.suffix(policy.STUB({ '192.168.10.53', '192.168.10.54' }), domains))
