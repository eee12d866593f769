//! Presentation form against octets written by hand, against hickory-proto, and against itself.

use hickory_proto::rr::{RData, RecordType};
use hickory_proto::serialize::binary::{BinDecoder, BinEncodable, Restrict};
use proptest::prelude::*;

use super::super::name::{DisplayWire, Name, NameError, wire_name_octets};
use super::super::number::Rtype;
use super::*;

/// Each type: text of a zone file with origin `corp.Example.`, and its octets.
const RDATA: &[(Rtype, &str, &[u8])] = &[
    (Rtype::A, "192.0.2.1", &[192, 0, 2, 1]),
    (Rtype::A, "\\# 4 C0 00 0201", &[192, 0, 2, 1]),
    (Rtype::AAAA, "2001:DB8::1", b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"),
    (Rtype::AAAA, "::ffff:192.0.2.1", b"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01"),
    (Rtype::NS, "Ns1", b"\x03Ns1\x04corp\x07example\0"),
    (Rtype::CNAME, "a\\.b.Other.", b"\x03a.b\x05Other\0"),
    (Rtype::PTR, "@", b"\x04corp\x07example\0"),
    (Rtype::PTR, ".", b"\0"),
    (
        Rtype::SOA,
        "ns1 Host.Master. 4294967295 2h 15M 1w3d 86400",
        b"\x03ns1\x04corp\x07example\0\x04Host\x06Master\0\xff\xff\xff\xff\0\0\x1c\x20\0\0\x03\x84\0\x0d\x2f\0\0\x01\x51\x80",
    ),
    (Rtype::MX, "10 Mail.", b"\0\x0a\x04Mail\0"),
    (Rtype::TXT, "\"a b\" c \"\" \"\\\"\\065\\255\"", b"\x03a b\x01c\0\x03\"A\xff"),
    (Rtype::TXT, "(\n \"a\" ; comment\n \"b\" )", b"\x01a\x01b"),
    (Rtype::SPF, "\"v=spf1 -all\"", b"\x0bv=spf1 -all"),
    (Rtype::SRV, "1 2 65535 Host", b"\0\x01\0\x02\xff\xff\x04Host\x04corp\x07example\0"),
    (
        Rtype::NAPTR,
        "100 50 \"s\" \"http+N2L\" \"!^.*$!http://a/!\" Www.",
        b"\0\x64\0\x32\x01s\x08http+N2L\x10!^.*$!http://a/!\x03Www\0",
    ),
    (Rtype::NAPTR, "1 2 \"\" \"\" \"\" .", b"\0\x01\0\x02\0\0\0\0"),
    (Rtype::DS, "60485 5 1 2BB183AF 5F225881 79", b"\xec\x45\x05\x01\x2b\xb1\x83\xaf\x5f\x22\x58\x81\x79"),
    (Rtype::SSHFP, "2 1 123456789abcdef6", b"\x02\x01\x12\x34\x56\x78\x9a\xbc\xde\xf6"),
    (Rtype::TLSA, "3 1 1 D2AB DE24", b"\x03\x01\x01\xd2\xab\xde\x24"),
    (Rtype::CAA, "128 issue \"Ca.example.net; a=b\"", b"\x80\x05issueCa.example.net; a=b"),
    (Rtype::CAA, "0 iodef mailto:a@b", b"\0\x05iodefmailto:a@b"),
    (Rtype::CAA, "0 issue \"\"", b"\0\x05issue"),
    (Rtype::HTTPS, "0 Target.", b"\0\0\x06Target\0"),
    (
        Rtype::HTTPS,
        "1 . port=8443 alpn=\"h2,h3\" ipv4hint=192.0.2.1,192.0.2.2",
        b"\0\x01\0\0\x01\0\x06\x02h2\x02h3\0\x03\0\x02\x20\xfb\0\x04\0\x08\xc0\0\x02\x01\xc0\0\x02\x02",
    ),
    (
        Rtype::SVCB,
        "16 Svc mandatory=key65333,alpn alpn=h2 no-default-alpn key65333=a\\255\\\"b",
        b"\0\x10\x03Svc\x04corp\x07example\0\0\0\0\x04\0\x01\xff\x35\0\x01\0\x03\x02h2\0\x02\0\0\xff\x35\0\x04a\xff\"b",
    ),
    (
        // RFC 9460 appendix D.2, figure 10: a comma and a backslash inside an id, in both ways of writing it.
        Rtype::SVCB,
        "16 foo.example.org. alpn=\"f\\\\\\\\oo\\\\,bar,h2\"",
        b"\0\x10\x03foo\x07example\x03org\0\0\x01\0\x0c\x08f\\oo,bar\x02h2",
    ),
    (
        Rtype::SVCB,
        "16 foo.example.org. alpn=f\\\\\\092oo\\092,bar,h2",
        b"\0\x10\x03foo\x07example\x03org\0\0\x01\0\x0c\x08f\\oo,bar\x02h2",
    ),
    (
        Rtype::HTTPS,
        "1 . ech=AEj+DQ== ipv6hint=\"2001:db8::1\" dohpath=\"/dns-query{?dns}\" ohttp key1000",
        b"\0\x01\0\0\x05\0\x04\0\x48\xfe\x0d\0\x06\0\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\
          \0\x07\0\x10/dns-query{?dns}\0\x08\0\0\x03\xe8\0\0",
    ),
    (Rtype(65_400), "\\# 0", b""),
    (Rtype(65_400), "\\# 3 (ab\n c\nd ef )", b"\xab\xcd\xef"),
];

fn corp_example() -> Name {
    Name::from_wire(b"\x04corp\x07Example\x00").expect("a name")
}

#[test]
fn each_type_reads_as_written_by_hand_and_shows_what_reads_back() {
    let origin = corp_example();
    for &(rtype, text, wire) in RDATA {
        let rdata = parse_rdata(rtype, text, Escapes::Decimal, Some(&origin));
        assert_eq!(rdata.as_deref(), Ok(wire), "{rtype} {text}");
        let shown = DisplayRdata { rtype, rdata: wire }.to_string();
        assert_eq!(parse_rdata(rtype, &shown, Escapes::Decimal, None).as_deref(), Ok(wire), "{rtype} {shown}");
        let hex: String = wire.iter().map(|octet| format!("{octet:02x}")).collect();
        let generic = format!("\\# {} {hex}", wire.len());
        assert_eq!(parse_rdata(rtype, &generic, Escapes::Decimal, None).as_deref(), Ok(wire), "{rtype} {generic}");
    }
    for rtype in Rtype::ROUTE_53 {
        assert!(RDATA.iter().any(|(tested, ..)| *tested == rtype), "{rtype} has no case");
    }
}

/// What hickory-proto makes of octets.
fn decode(rtype: Rtype, rdata: &[u8]) -> RData {
    let mut decoder = BinDecoder::new(rdata);
    let octets = Restrict::new(rdata.len() as u16);
    RData::read(&mut decoder, RecordType::from(rtype.0), octets).expect("hickory-proto decodes what we write")
}

#[test]
fn hickory_decodes_every_rdata_and_writes_the_same_octets() {
    for &(rtype, text, wire) in RDATA {
        let encoded = decode(rtype, wire).to_bytes().expect("hickory-proto encodes what it decoded");
        // It writes the names of some types in lower case (RFC 4034 section 6.2).
        assert_eq!(encoded.to_ascii_lowercase(), wire.to_ascii_lowercase(), "{rtype} {text}");
    }
}

#[test]
fn hickory_reads_the_same_from_text() {
    // What its own presentation form takes: no DS, no SPF, no `\DDD` (it reads \065 as U+0605), and SvcParams sorted
    // and without quotes.
    for (rtype, text) in [
        (Rtype::A, "192.0.2.1"),
        (Rtype::AAAA, "2001:db8::1"),
        (Rtype::NS, "ns1.example.com."),
        (Rtype::CNAME, "a\\.b.example.com."),
        (Rtype::PTR, "host.example.com."),
        (Rtype::SOA, "ns1.example.com. host.example.com. 1 7200 900 1209600 86400"),
        (Rtype::MX, "10 mail.example.com."),
        (Rtype::TXT, "\"a b\" c \"\\\"d\""),
        (Rtype::SRV, "1 2 443 host.example.com."),
        (Rtype::NAPTR, "100 50 \"s\" \"http+N2L\" \"\" www.example.com."),
        (Rtype::SSHFP, "2 1 123456789abcdef67890123456789abcdef67890"),
        (Rtype::TLSA, "3 1 1 d2abde240d7cd3ee 6b4b28c54df034b9"),
        (Rtype::CAA, "128 issue \"ca.example.net\""),
        (Rtype::SVCB, "1 svc.example.com. alpn=h2,h3 port=53 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1"),
        (Rtype::HTTPS, "1 . mandatory=alpn alpn=h2 no-default-alpn ech=AEj+DQ=="),
    ] {
        let judge = RData::try_from_str(RecordType::from(rtype.0), text).expect("hickory-proto reads it");
        let rdata = parse_rdata(rtype, text, Escapes::Decimal, None).expect(text);
        assert_eq!(decode(rtype, &rdata), judge, "{rtype} {text}");
    }
}

#[test]
fn octal_values_are_those_of_route_53() {
    for (rtype, text, wire) in [
        (Rtype::TXT, r#""a\052\"b" "\377;(""#, &b"\x04a*\"b\x03\xff;("[..]),
        (Rtype::CNAME, r"\052.corp.Example", b"\x01*\x04corp\x07Example\0"),
        (Rtype::MX, "10 mail.example.com", b"\0\x0a\x04mail\x07example\x03com\0"),
        (Rtype::CAA, "0 issue \";\"", b"\0\x05issue;"),
    ] {
        assert_eq!(parse_rdata(rtype, text, Escapes::Octal, None).as_deref(), Ok(wire), "{rtype} {text}");
    }
}

/// An error of a value: type, dialect, text, place and a part of the message.
type Wrong = (Rtype, Escapes, &'static str, (u32, u32), &'static str);

#[test]
fn errors_have_their_place_value_rule_and_remedy() {
    use Escapes::{Decimal, Octal};
    let wrong: &[Wrong] = &[
        (Rtype::A, Octal, "10.0.0.256", (1, 1), "`10.0.0.256` is not an IPv4 address"),
        (Rtype::A, Octal, "10.0.0.01", (1, 1), "without leading zeros"),
        (Rtype::A, Octal, "", (1, 1), "an A record lacks its IPv4 address (RFC 1035 section 3.4.1)"),
        (Rtype::A, Octal, "10.0.0.1 10.0.0.2", (1, 10), "`10.0.0.2` is one field too many"),
        (Rtype::A, Octal, "10.0.0.1 ; no comment", (1, 10), "`;` is one field too many"),
        (Rtype::A, Octal, "10.0.0.1\n10.0.0.2", (2, 1), "one value is one record"),
        (Rtype::A, Octal, "\"10.0.0.1\"", (1, 1), "without quotes"),
        (Rtype::AAAA, Octal, " 2001:db8::g", (1, 2), "is not an IPv6 address"),
        (Rtype::MX, Octal, "mail.example.com", (1, 1), "the preference, a number from 0 to 65535"),
        (Rtype::MX, Octal, "10", (1, 3), "an MX record lacks its exchange"),
        (Rtype::MX, Octal, "65536 mail", (1, 1), "`65536` is not the preference"),
        (Rtype::SRV, Octal, "1 2 -3 host", (1, 5), "`-3` is not the port"),
        (Rtype::SOA, Decimal, "a b 1 (\n 1h 2x\n 3 4 )", (2, 5), "`2x` is not the retry"),
        (Rtype::SOA, Decimal, "a b 4294967296 1 1 1 1", (1, 5), "a number from 0 to 4294967295"),
        (Rtype::SOA, Decimal, "a b 1 8000w 1 1 1", (1, 7), "`8000w` is not the refresh"),
        (Rtype::TXT, Octal, "v=spf1", (1, 1), "`v=spf1` is not in double quotes"),
        (Rtype::TXT, Octal, "\"é\" \"b", (1, 5), "is not closed on its line"),
        (Rtype::TXT, Decimal, "v=\"b c\"", (1, 1), "quotes go around a whole string"),
        (Rtype::TXT, Decimal, "a\"b", (1, 2), "in the middle of a word"),
        (Rtype::TXT, Decimal, "\"\\256\"", (1, 2), "three decimal digits up to 255"),
        (Rtype::TXT, Octal, "\"ab\\400\"", (1, 4), "three octal digits up to 377"),
        (Rtype::TXT, Octal, "\"\\9\"", (1, 2), "three octal digits up to 377"),
        (Rtype::TXT, Decimal, "ab ( \"c\"", (1, 4), "`(` is never closed"),
        (Rtype::TXT, Decimal, "ab )", (1, 4), "`)` closes no parenthesis"),
        (Rtype::CNAME, Octal, "a..b", (1, 1), "a label is empty; remove the dot that is too many"),
        (Rtype::CNAME, Octal, "@", (1, 1), "there is none here"),
        (Rtype::DS, Octal, "1 2 3 abc", (1, 10), "a hexadecimal digit is missing"),
        (Rtype::DS, Octal, "1 2 3 abxd", (1, 9), "`abxd` is not hexadecimal"),
        (Rtype::DS, Octal, "1 2 3", (1, 6), "a DS record lacks its digest"),
        (Rtype::TLSA, Octal, "1 2 300 ab", (1, 5), "a number from 0 to 255"),
        (Rtype::CAA, Octal, "0 is-sue \"a\"", (1, 3), "1 to 255 letters and digits"),
        (Rtype::NAPTR, Octal, "1 1 \"+\" \"\" \"\" .", (1, 5), "letters and digits"),
        (Rtype::HTTPS, Octal, "1 . alpn=h2 alpn=h3", (1, 13), "`alpn` is there twice"),
        (Rtype::HTTPS, Octal, "1 . port=x", (1, 9), "a number from 0 to 65535 (RFC 9460 section 7.2)"),
        (Rtype::HTTPS, Octal, "1 . mandatory=port", (1, 5), "lists a key that is not there"),
        (Rtype::HTTPS, Octal, "1 . mandatory=alpn,alpn alpn=h2", (1, 14), "each once"),
        (Rtype::HTTPS, Octal, "1 . no-default-alpn", (1, 5), "stands without alpn"),
        (Rtype::HTTPS, Octal, "1 . alpn=", (1, 9), "protocol ids of 1 to 255 octets"),
        (Rtype::HTTPS, Octal, "1 . ech=AEj+DR==", (1, 8), "base64"),
        (Rtype::HTTPS, Octal, "1 . Alpn=h2", (1, 5), "`Alpn=h2` is not a SvcParam"),
        (Rtype::HTTPS, Octal, "1 . key065=x", (1, 5), "is not a SvcParam"),
        (Rtype::HTTPS, Octal, "1 . key65535=x", (1, 5), "is not a SvcParam"),
        (Rtype::A, Decimal, "\\# 3 0a0000", (1, 1), "not the rdata of an A record"),
        (Rtype::CNAME, Decimal, "\\# 2 c00c", (1, 1), "not the rdata of a CNAME record"),
        (Rtype::HTTPS, Decimal, "\\# 5 0001000001", (1, 1), "not the rdata of an HTTPS record"),
        (Rtype(65_400), Decimal, "\\# 3 0a00", (1, 4), "3 octets are announced and 2 follow"),
        (Rtype(65_400), Decimal, "\\#", (1, 3), "is not a number of octets"),
        (Rtype(65_400), Decimal, "hello", (1, 1), "type TYPE65400 has no form of its own here"),
    ];
    for &(rtype, escapes, text, (line, column), part) in wrong {
        let error = parse_rdata(rtype, text, escapes, None).expect_err(text);
        assert_eq!((error.line, error.column), (line, column), "{rtype} {text}: {error}");
        assert!(error.message.contains(part), "{rtype} {text}: {error}");
        assert!(error.message.contains("; "), "{rtype} {text} has no remedy: {error}");
    }
}

#[test]
fn limits_of_strings_and_values() {
    let string = |octets| format!("\"{}\"", "x".repeat(octets));
    let read = |text: &str, escapes| parse_rdata(Rtype::TXT, text, escapes, None);
    assert_eq!(read(&string(255), Escapes::Octal).map(|rdata| rdata.len()), Ok(256));
    let error = read(&format!("\"a\" {}", string(256)), Escapes::Octal).expect_err("256 octets");
    assert_eq!((error.line, error.column), (1, 5));
    assert!(error.message.contains("has 256 octets"), "{error}");
    // 15 strings of 257 characters, 15 blanks, and one string of 130 characters make 4000.
    let value = format!("{}{}", format!("{} ", string(255)).repeat(15), string(128));
    assert_eq!(value.len(), TXT_VALUE_CHARACTERS_MAX);
    assert!(read(&value, Escapes::Octal).is_ok());
    let longer = value.replace("x\" \"x", "xx\" \"x").replacen("xx\"", "x\"", 14);
    assert!(longer.len() > TXT_VALUE_CHARACTERS_MAX);
    let error = read(&longer, Escapes::Octal).expect_err("4001 characters");
    assert!(error.message.contains("4001 characters"), "{error}");
    assert!(read(&format!("{value} \"\""), Escapes::Decimal).is_ok(), "the limit is Route 53's");
    let huge = format!("{} ", string(255)).repeat(257);
    assert!(read(&huge, Escapes::Decimal).expect_err("65,792 octets").message.contains("at most 65535 fit"));
}

/// A name as text, its dialect and origin, and what it is.
type NameCase<'c> = (&'c str, Escapes, Option<&'c Name>, Result<&'c [u8], NameError>);

#[test]
fn names() {
    use Escapes::{Decimal, Octal};
    let origin = corp_example();
    let origin = Some(&origin);
    let long_label = "a".repeat(64);
    let long_name = "abcdefg.".repeat(32);
    let cases: &[NameCase<'_>] = &[
        ("Www", Decimal, origin, Ok(b"\x03Www\x04corp\x07example\0")),
        ("www.", Decimal, origin, Ok(b"\x03www\0")),
        ("@", Decimal, origin, Ok(b"\x04corp\x07example\0")),
        ("\\@", Decimal, None, Ok(b"\x01@\0")),
        (".", Decimal, origin, Ok(b"\0")),
        ("www", Octal, None, Ok(b"\x03www\0")),
        ("\\052.a", Octal, None, Ok(b"\x01*\x01a\0")),
        ("\\052.a", Decimal, None, Ok(b"\x014\x01a\0")),
        ("a\\.b", Octal, None, Ok(b"\x03a.b\0")),
        ("a\\056b", Octal, None, Ok(b"\x03a.b\0")),
        ("a\\.", Decimal, origin, Ok(b"\x02a.\x04corp\x07example\0")),
        ("b\u{fc}cher", Decimal, None, Ok(b"\x07b\xc3\xbccher\0")),
        ("", Octal, None, Err(NameError::EmptyLabel)),
        ("..", Octal, None, Err(NameError::EmptyLabel)),
        (".a", Octal, None, Err(NameError::EmptyLabel)),
        ("a..", Octal, None, Err(NameError::EmptyLabel)),
        ("@", Octal, None, Err(NameError::NoOrigin)),
        ("a b", Octal, None, Err(NameError::Unescaped)),
        ("a\"", Octal, None, Err(NameError::Unescaped)),
        ("a\\", Octal, None, Err(NameError::BadEscape)),
        ("a\\08", Octal, None, Err(NameError::BadEscape)),
        ("a\\089", Octal, None, Err(NameError::BadEscape)),
        ("a\\256", Decimal, None, Err(NameError::BadEscape)),
        (&long_label, Octal, None, Err(NameError::LabelTooLong)),
        (&long_name, Octal, None, Err(NameError::TooLong)),
        (&long_name[..247], Octal, origin, Err(NameError::TooLong)),
    ];
    for (text, escapes, origin, expected) in cases {
        assert_eq!(parse_name(text, *escapes, *origin).as_deref(), expected.as_deref(), "{text}");
    }
    assert_eq!(parse_name(&long_name[..253], Octal, None).map(|wire| wire.len()), Ok(255));
    assert_eq!(parse_folded_name("WWW", Octal, origin).map(|name| name.to_string()), Ok("www.corp.example.".into()));
}

#[test]
fn errors_never_carry_control_characters() {
    let error = parse_rdata(Rtype::A, "a\u{1b}[31m\u{7}", Escapes::Octal, None).expect_err("no address");
    assert!(!error.message.contains(char::is_control), "{error:?}");
    let long = "x".repeat(10_000);
    let error = parse_rdata(Rtype::A, &long, Escapes::Octal, None).expect_err("no address");
    assert!(error.message.len() < 400, "{error}");
}

/// Text that is likely to mean something.
fn texts() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just(" ".to_owned()),
        Just("\n".to_owned()),
        "[a-z0-9.\\\\\"();@$=,-]{0,12}",
        "\\$(ORIGIN|TTL|INCLUDE) ",
        " (IN|CH|A|AAAA|MX|TXT|SOA|HTTPS|NS|CAA|TYPE[0-9]{1,5}) ",
        "[0-9]{1,5}",
        "(alpn|port|mandatory|key[0-9]{1,5}|ipv4hint|ech)=",
        "\\\\[0-9]{0,4}",
        "\\PC{0,4}",
    ];
    prop::collection::vec(word, 0..24).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn shown_names_read_back(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..=63), 0..5)) {
        let Ok(name) = Name::from_labels(labels.iter().map(Vec::as_slice)) else { return Ok(()) };
        let shown = name.to_string();
        prop_assert_eq!(parse_name(&shown, Escapes::Decimal, None), Ok(name.as_wire().to_vec()));
        prop_assert_eq!(parse_folded_name(&shown, Escapes::Decimal, Some(&corp_example())), Ok(name));
    }

    #[test]
    fn any_name_text_is_a_name_or_an_error(text in ".{0,80}") {
        for escapes in [Escapes::Decimal, Escapes::Octal] {
            if let Ok(wire) = parse_name(&text, escapes, None) {
                prop_assert_eq!(wire_name_octets(&wire), Ok(wire.len()));
                let shown = DisplayWire(&wire).to_string();
                prop_assert_eq!(parse_name(&shown, Escapes::Decimal, None), Ok(wire));
            }
        }
    }

    #[test]
    fn any_rdata_text_is_sound_rdata_or_an_error(text in texts(), index in 0..18usize) {
        let rtype = Rtype::ROUTE_53.get(index).copied().unwrap_or(Rtype(65_400));
        for escapes in [Escapes::Decimal, Escapes::Octal] {
            if let Ok(rdata) = parse_rdata(rtype, &text, escapes, Some(&corp_example())) {
                let shown = DisplayRdata { rtype, rdata: &rdata }.to_string();
                prop_assert_eq!(parse_rdata(rtype, &shown, Escapes::Decimal, None), Ok(rdata), "{}", shown);
            }
        }
    }

    #[test]
    fn ipv4_addresses_are_those_of_std(text in "[0-9.]{0,16}|([0-9]{1,4}[.]){3}[0-9]{1,4}") {
        let ours = parse_rdata(Rtype::A, &text, Escapes::Octal, None).ok();
        let judge = text.parse::<std::net::Ipv4Addr>().ok();
        prop_assert_eq!(ours, judge.map(|address| address.octets().to_vec()));
    }

    #[test]
    fn any_rdata_is_shown(rdata in prop::collection::vec(any::<u8>(), 0..64), index in 0..18usize) {
        let rtype = Rtype::ROUTE_53.get(index).copied().unwrap_or(Rtype(65_400));
        let shown = DisplayRdata { rtype, rdata: &rdata }.to_string();
        match parse_rdata(rtype, &shown, Escapes::Decimal, None) {
            Ok(read_back) => prop_assert_eq!(read_back, rdata),
            // What is not rdata of the type is shown in the generic form, which says so when it is read.
            Err(error) => prop_assert!(shown.starts_with("\\#"), "{} {}", shown, error),
        }
    }

    #[test]
    fn any_zone_file_is_read(text in texts(), included in texts()) {
        let mut user = AnyZone { included: &included, texts: vec![&text] };
        let errors = read_zone_file("a", &text, &corp_example(), &mut user);
        for ZoneFileError { file, error } in errors {
            let line = user.texts[file as usize].split('\n').nth(error.line as usize - 1).expect("the line is there");
            prop_assert!(error.column as usize <= line.chars().count() + 1, "{}", error);
        }
    }
}

/// A zone whose every included file has the same text.
struct AnyZone<'t> {
    included: &'t str,
    /// The files in the order of their numbers.
    texts: Vec<&'t str>,
}

impl ZoneFileUser for AnyZone<'_> {
    fn record(&mut self, record: ZoneRecord<'_>) {
        assert_eq!(wire_name_octets(record.owner), Ok(record.owner.len()));
        let lines = self.texts[record.file as usize].split('\n').count() as u32;
        assert!((1..=lines).contains(&record.line));
    }

    fn include(&mut self, included: IncludedFile<'_>) -> Result<String, String> {
        assert!((included.file as usize) < self.texts.len());
        self.texts.push(self.included);
        Ok(self.included.to_owned())
    }
}
