//! The forgeries themselves. Each is judged by what is in the store afterwards:
//! a store that answers 200 and does nothing of a header does not accept it, and
//! one that answers with an error may have done it all the same.

use bytes::Bytes;
use jiff::SignedDuration;

use super::{
    super::StoreError,
    Probe, Verdict,
    forge::Said,
    lab::{FORGED, Lab, SECRET, SIGNED},
};

/// What everybody is called in an access control list.
const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
/// Of an object lock that should not come to be: short, and not the mode that
/// nobody can end.
const LOCK: SignedDuration = SignedDuration::from_mins(2);

type Outcome = Result<(Verdict, String), StoreError>;

/// Sends one forgery and looks at its effect. An error: that could not be done.
pub(super) async fn act(lab: &Lab<'_>, probe: Probe) -> Outcome {
    match probe {
        Probe::CopySource => copy(lab, probe, SIGNED).await,
        Probe::CopySourceEmpty => copy(lab, probe, b"").await,
        Probe::Acl => published(lab, probe, ("x-amz-acl", "public-read".into())).await,
        Probe::GrantRead => {
            let everybody = format!("uri=\"{ALL_USERS}\"");
            published(lab, probe, ("x-amz-grant-read", everybody)).await
        }
        Probe::OtherBody => other_body(lab, probe, &[]).await,
        Probe::DoubledHash => {
            let any = ("x-amz-content-sha256", "UNSIGNED-PAYLOAD".to_owned());
            other_body(lab, probe, &[any]).await
        }
        Probe::Overwrite => overwrite(lab).await,
        Probe::IfRange => if_range(lab).await,
        Probe::DoubledRange => doubled_range(lab).await,
        Probe::Metadata => {
            let header = ("x-amz-meta-strongroom", "forged".to_owned());
            told(lab, probe, &[header]).await
        }
        Probe::Tagging => told(lab, probe, &[("x-amz-tagging", "forged=1".to_owned())]).await,
        Probe::StorageClass => {
            let header = ("x-amz-storage-class", "REDUCED_REDUNDANCY".to_owned());
            told(lab, probe, &[header]).await
        }
        Probe::Redirect => {
            let header = ("x-amz-website-redirect-location", "/forged".to_owned());
            told(lab, probe, &[header]).await
        }
        Probe::ObjectLock => {
            let until = lab.now().saturating_add(LOCK).unwrap_or(lab.now());
            let headers = [
                ("x-amz-object-lock-mode", "GOVERNANCE".to_owned()),
                (
                    "x-amz-object-lock-retain-until-date",
                    until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                ),
            ];
            told(lab, probe, &headers).await
        }
        Probe::Public => public(lab).await,
    }
}

/// A grant for `body` at the probe's own path, sent with these headers and
/// `sent` for a body.
async fn forge(
    lab: &Lab<'_>,
    probe: Probe,
    body: &[u8],
    sent: &[u8],
    headers: &[(&str, String)],
) -> Result<Said, StoreError> {
    // Without `if-none-match`: a try of this forgery that was answered with
    // trouble may have been written.
    let grant = lab.grant(&lab.path(probe.as_str()), body, false)?;
    lab.forger
        .send(&grant, headers, Bytes::copy_from_slice(sent))
        .await
}

/// What is under the probe's path; `None`: nothing.
async fn content(lab: &Lab<'_>, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
    match lab.store.client.get(path).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Of a forgery without effect.
fn harmless(said: &Said) -> (Verdict, String) {
    let verdict = if said.is_success() {
        Verdict::Ignored
    } else {
        Verdict::Refused
    };
    (verdict, said.to_string())
}

fn judged(said: &Said, had_effect: bool) -> (Verdict, String) {
    if had_effect {
        (Verdict::Accepted, said.to_string())
    } else {
        harmless(said)
    }
}

async fn copy(lab: &Lab<'_>, probe: Probe, body: &[u8]) -> Outcome {
    let config = lab.store.client.config();
    let source = format!("/{}/{}", config.bucket, config.key(&lab.secret()));
    let source = (
        "x-amz-copy-source",
        crate::stores::sign::encode_path(&source),
    );
    let said = forge(lab, probe, body, body, &[source]).await?;
    let content = content(lab, &lab.path(probe.as_str())).await?;
    Ok(judged(&said, content.as_deref() == Some(SECRET)))
}

async fn published(lab: &Lab<'_>, probe: Probe, header: (&str, String)) -> Outcome {
    let said = forge(lab, probe, SIGNED, SIGNED, &[header]).await?;
    let path = lab.path(probe.as_str());
    // In a bucket that is open to all, nothing is published by a header; that
    // it is open is a finding of its own.
    let open = is_public(lab, &lab.secret()).await?;
    let effect = !open && is_public(lab, &path).await?;
    // The list says it even where the bucket's owner forbids what is public.
    let listed = lab.store.client.readers(&path).await;
    let listed = listed.is_ok_and(|readers| readers.iter().any(|reader| reader == ALL_USERS));
    Ok(judged(&said, effect || listed))
}

async fn is_public(lab: &Lab<'_>, path: &str) -> Result<bool, StoreError> {
    let url = lab.grant(path, SIGNED, false)?.url;
    Ok(lab.forger.anonymous(&url).await?.status == 200)
}

async fn other_body(lab: &Lab<'_>, probe: Probe, headers: &[(&str, String)]) -> Outcome {
    let said = forge(lab, probe, SIGNED, FORGED, headers).await?;
    let content = content(lab, &lab.path(probe.as_str())).await?;
    Ok(judged(&said, content.as_deref() == Some(FORGED)))
}

async fn overwrite(lab: &Lab<'_>) -> Outcome {
    // An object of its own: the secret must stay for the other forgeries.
    let path = lab.path(Probe::Overwrite.as_str());
    let first = lab.grant(&path, SIGNED, false)?;
    lab.forger
        .send(&first, &[], Bytes::from_static(SIGNED))
        .await?;
    let second = lab.grant(&path, FORGED, true)?;
    let said = lab
        .forger
        .send(&second, &[], Bytes::from_static(FORGED))
        .await?;
    let content = content(lab, &path).await?;
    // A store that does not know the header writes nothing under it, so it must
    // be left out, and then the object is replaced.
    let left_out = said.is_unknown_to_it() || !lab.terms.only_new;
    let replaced = content.as_deref() == Some(FORGED) || left_out;
    Ok(judged(&said, replaced))
}

/// What `if-range` names is not what is there: whoever heeds it sends all.
async fn if_range(lab: &Lab<'_>) -> Outcome {
    let others = ["\"strongroom\"", "Thu, 01 Jan 1970 00:00:00 GMT"];
    let forgeries = others.map(|other| {
        let header = ("if-range", other.to_owned());
        (Vec::new(), vec![header])
    });
    ranges(lab, forgeries).await
}

async fn doubled_range(lab: &Lab<'_>) -> Outcome {
    let all = || vec![("range", format!("bytes=0-{}", SECRET.len() - 1))];
    ranges(lab, [(all(), Vec::new()), (Vec::new(), all())]).await
}

/// Headers in front of a grant's own, and behind them.
type Around = (Vec<(&'static str, String)>, Vec<(&'static str, String)>);

/// Asks for the secret by grants for its first byte.
async fn ranges(lab: &Lab<'_>, forgeries: [Around; 2]) -> Outcome {
    let mut harmless = None;
    for (before, behind) in forgeries {
        let grant = lab.first_byte(&lab.secret())?;
        let said = lab
            .forger
            .send_around(&grant, &before, &behind, Bytes::new())
            .await?;
        let all = said.is_success() && said.body.len() > 1;
        let judged = judged(&said, all);
        if all {
            return Ok(judged);
        }
        harmless.get_or_insert(judged);
    }
    Ok(harmless.unwrap_or((Verdict::Untried, String::new())))
}

/// What is told and decides nothing: the header's effect is looked for in what
/// the store says of the object.
async fn told(lab: &Lab<'_>, probe: Probe, headers: &[(&str, String)]) -> Outcome {
    let said = forge(lab, probe, SIGNED, SIGNED, headers).await?;
    let path = lab.path(probe.as_str());
    let Some(facts) = lab.store.client.facts(&path).await? else {
        return Ok(harmless(&said));
    };
    let effect = match probe {
        Probe::Metadata => facts.metadata,
        Probe::Tagging => lab.store.client.is_tagged(&path).await.unwrap_or(false),
        Probe::StorageClass => facts.storage_class.as_deref() == Some("REDUCED_REDUNDANCY"),
        Probe::Redirect => facts.redirect,
        _ => facts.locked,
    };
    Ok(judged(&said, effect))
}

async fn public(lab: &Lab<'_>) -> Outcome {
    let url = lab.grant(&lab.secret(), SIGNED, false)?.url;
    let said = lab.forger.anonymous(&url).await?;
    let readable = said.status == 200 && said.body == SECRET;
    Ok(judged(&said, readable))
}
