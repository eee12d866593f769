# On a DNS server of Windows Server 2012 R2 or later, as a member of DnsAdmins.
# Not tried: it takes a Windows Server. The commands are as Microsoft documents them.
$domains = @(
    "ap-northeast-2.amazonaws.com"
    "ap-northeast-2.vpce.amazonaws.com"
    "ap-northeast-2.api.aws"
    "ap-northeast-2.on.aws"
    "ap-northeast-2.compute.internal"
    "0.10.in-addr.arpa"
    "shop.internal"
)
foreach ($domain in $domains) {
    # ReplicationScope: to all DNS servers of the forest; leave it out on a server that is no domain controller.
    # UseRecursion: off, or private names are asked of the world whenever both are silent.
    # ForwarderTimeout: plustwo itself gives up on its upstream after 3.9 s; twice 4 s is what RecursionTimeout (8 s) leaves.
    Add-DnsServerConditionalForwarderZone -Name $domain -MasterServers 192.168.10.53,192.168.10.54 `
        -ReplicationScope Forest -ForwarderTimeout 4 -UseRecursion:$false
}
