use strongroom_layout::ObjectId;
use zeroize::Zeroizing;

use super::*;
use crate::stores::StoreCredentials;

const ALL: PutTerms = PutTerms {
    only_new: true,
    checksum: true,
};

fn store(endpoint: &str, path_style: bool) -> StoreConfig {
    StoreConfig {
        name: "primary".into(),
        endpoint: endpoint.parse().unwrap(),
        region: "us-east-1".into(),
        bucket: "examplebucket".into(),
        prefix: String::new(),
        path_style,
        credentials: StoreCredentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: Zeroizing::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()),
            session_token: None,
        },
        extra_ca_pem: None,
        accept_risks: std::collections::BTreeSet::new(),
    }
}

fn header<'a>(grant: &'a Grant, name: &str) -> Option<&'a str> {
    grant
        .headers
        .iter()
        .find(|(header, _)| header == name)
        .map(|(_, value)| value.as_str())
}

/// The worked example of the S3 documentation, "Authenticating Requests:
/// Using the Authorization Header", GET Object.
#[test]
fn a_ranged_get_is_signed_as_amazon_documents_it() {
    let signer = Signer::new(store("https://s3.amazonaws.com", false)).unwrap();
    let at = "2013-05-24T00:00:00Z".parse().unwrap();
    let range = Some((0, 9));
    let grant = signer
        .sign("test.txt", &Action::Get { range }, PutTerms::default(), at)
        .unwrap();
    assert_eq!(grant.method, "GET");
    assert_eq!(grant.url, "https://examplebucket.s3.amazonaws.com/test.txt");
    assert_eq!(header(&grant, "range"), Some("bytes=0-9"));
    assert_eq!(header(&grant, "x-amz-date"), Some("20130524T000000Z"));
    assert_eq!(header(&grant, "x-amz-content-sha256"), Some(EMPTY_SHA256));
    assert_eq!(
        header(&grant, "authorization"),
        Some(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        )
    );
}

#[test]
fn a_put_binds_length_hash_and_absence() {
    let signer = Signer::new(store("http://127.0.0.1:9000", true)).unwrap();
    let action = Action::Put {
        length: 42,
        sha256: ObjectId([0xab; 32]),
    };
    let at = "2026-01-01T00:00:00Z".parse().unwrap();
    let grant = signer.sign("a b/config", &action, ALL, at).unwrap();
    assert_eq!(grant.method, "PUT");
    assert_eq!(
        grant.url,
        "http://127.0.0.1:9000/examplebucket/a%20b/config"
    );
    assert_eq!(header(&grant, "content-length"), Some("42"));
    assert_eq!(header(&grant, "if-none-match"), Some("*"));
    assert_eq!(
        header(&grant, "x-amz-checksum-sha256"),
        Some("q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=")
    );
    assert_eq!(
        header(&grant, "x-amz-content-sha256"),
        Some("ab".repeat(32).as_str())
    );
    let authorization = header(&grant, "authorization").unwrap();
    assert!(
        authorization.contains(
            "SignedHeaders=content-length;host;if-none-match;x-amz-checksum-sha256;\
             x-amz-content-sha256;x-amz-date"
        ),
        "{authorization}"
    );
}

#[test]
fn no_grant_and_no_debug_output_holds_the_secret() {
    let config = store("https://s3.amazonaws.com", true);
    let signer = Signer::new(config.clone()).unwrap();
    let at = "2026-01-01T00:00:00Z".parse().unwrap();
    let grant = signer
        .sign("x", &Action::Get { range: None }, ALL, at)
        .unwrap();
    let text = format!("{signer:?} {grant:?}");
    assert!(!text.contains(config.credentials.secret_access_key.as_str()));
}

#[test]
fn a_delete_is_not_signed() {
    let signer = Signer::new(store("https://s3.amazonaws.com", true)).unwrap();
    let at = "2026-01-01T00:00:00Z".parse().unwrap();
    assert!(matches!(
        signer.sign("x", &Action::Delete, ALL, at),
        Err(SignError::Delete)
    ));
}

/// Prints how many requests one core signs in a second; the aim is 5,000.
#[test]
fn signing_speed() {
    let signer = Signer::new(store("https://s3.amazonaws.com", true)).unwrap();
    let at = "2026-01-01T00:00:00Z".parse().unwrap();
    let started = std::time::Instant::now();
    let count = 2_000_u32;
    for number in 0..count {
        let action = Action::Put {
            length: u64::from(number),
            sha256: ObjectId([number as u8; 32]),
        };
        let grant = signer.sign("prefix/data/ab/abcdef", &action, PutTerms::default(), at);
        assert!(grant.is_ok());
    }
    let rate = f64::from(count) / started.elapsed().as_secs_f64();
    println!("{rate:.0} signatures per second on one core");
}
