//! The coordinator's certificate authority.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::{Fingerprint, PkiError, inspect, parse_chain};
use crate::files;

const CERTIFICATE_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca.key";

/// The CA outlives every agent's disk; replacing it means enrolling anew.
const CA_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 365 * 20);

/// Clocks of hosts differ a little: certificates hold from a while ago.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// From when to when a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Holds from here.
    pub not_before: Timestamp,
    /// Holds until here.
    pub not_after: Timestamp,
}

impl Validity {
    /// From now, less a little for clocks that are behind, for `lifetime`.
    pub fn starting(now: Timestamp, lifetime: SignedDuration) -> Self {
        Self {
            not_before: now.saturating_sub(BACKDATE).unwrap_or(now),
            not_after: now.saturating_add(lifetime).unwrap_or(Timestamp::MAX),
        }
    }

    fn apply(self, params: &mut CertificateParams) -> Result<(), PkiError> {
        let time = |at: Timestamp| {
            time::OffsetDateTime::from_unix_timestamp(at.as_second())
                .map_err(|error| PkiError::invalid("the certificate's validity", error))
        };
        params.not_before = time(self.not_before)?;
        params.not_after = time(self.not_after)?;
        Ok(())
    }
}

/// A certificate for an agent.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Leaf first, then the CA; PEM.
    pub chain_pem: String,
    /// Lowercase hex.
    pub serial: String,
    /// Holds until here.
    pub not_after: Timestamp,
}

/// A server's certificate chain and key, ready for rustls.
pub struct ServerKey {
    /// Leaf first, then the CA.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// Holds until here.
    pub not_after: Timestamp,
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerKey")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Signs certificates. The key never leaves this type.
pub struct CertificateAuthority {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

impl CertificateAuthority {
    /// The files of a CA in `directory`: its certificate and its key.
    pub fn files(directory: &Path) -> [PathBuf; 2] {
        [directory.join(CERTIFICATE_FILE), directory.join(KEY_FILE)]
    }

    /// The CA in `directory` (`ca.pem`, `ca.key` with mode 0600), made if
    /// neither file is there.
    pub fn open_or_create(directory: &Path, now: Timestamp) -> Result<Self, PkiError> {
        let [certificate_path, key_path] = Self::files(directory);
        match (certificate_path.exists(), key_path.exists()) {
            (true, true) => {
                let certificate = files::read_text(&certificate_path)?;
                let key = files::read_secret_text(&key_path)?;
                Self::load(&certificate, &key)
            }
            (false, false) => {
                let (authority, key) = Self::create(now)?;
                files::write_atomic(&key_path, key.as_bytes(), files::SECRET)?;
                files::write_atomic(
                    &certificate_path,
                    authority.certificate_pem.as_bytes(),
                    files::PUBLIC,
                )?;
                Ok(authority)
            }
            // The key is written first; alone, nobody has trusted it yet. But
            // it may as well be all that is left after an accident.
            (false, true) => Err(PkiError::HalfAuthority {
                present: key_path,
                missing: certificate_path,
            }),
            (true, false) => Err(PkiError::HalfAuthority {
                present: certificate_path,
                missing: key_path,
            }),
        }
    }

    /// A new CA and its key as PEM.
    pub fn create(now: Timestamp) -> Result<(Self, Zeroizing<String>), PkiError> {
        let what = "the certificate authority";
        let key = KeyPair::generate().map_err(PkiError::generate(what))?;
        let key_pem = Zeroizing::new(key.serialize_pem());
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("Strongroom CA");
        // No intermediates: nobody who steals a leaf's key can sign with it.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Validity::starting(now, CA_LIFETIME).apply(&mut params)?;
        let certificate = params.self_signed(&key).map_err(PkiError::generate(what))?;
        let authority = Self {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        };
        Ok((authority, key_pem))
    }

    /// The CA of these two PEM texts.
    pub fn load(certificate_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let what = "the certificate authority's certificate";
        let key = KeyPair::from_pem(key_pem)
            .map_err(|error| PkiError::invalid("the certificate authority's key", error))?;
        let certificate = parse_chain(what, certificate_pem)?.swap_remove(0);
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|error| PkiError::invalid(what, error))?;
        Ok(Self {
            certificate,
            certificate_pem: certificate_pem.to_owned(),
            issuer,
        })
    }

    /// The CA's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The CA's certificate as PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// What join tokens pin.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// A certificate and key for a server with these DNS names and addresses.
    pub fn issue_server(
        &self,
        names: &[String],
        validity: Validity,
    ) -> Result<ServerKey, PkiError> {
        let what = "the server certificate";
        let key = KeyPair::generate().map_err(PkiError::generate(what))?;
        let mut params =
            CertificateParams::new(names.to_vec()).map_err(PkiError::generate(what))?;
        params.distinguished_name = common_name("Strongroom coordinator");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        validity.apply(&mut params)?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(PkiError::generate(what))?;
        Ok(ServerKey {
            chain: vec![certificate.der().clone(), self.certificate.clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            not_after: validity.not_after,
        })
    }

    /// A client certificate for whoever holds the key of this request. Only
    /// the public key is taken from the request: `uri` alone says who it is.
    pub fn issue_client(
        &self,
        request_pem: &str,
        uri: &str,
        validity: Validity,
    ) -> Result<Issued, PkiError> {
        let what = "the agent's certificate";
        let mut request = CertificateSigningRequestParams::from_pem(request_pem)
            .map_err(|error| PkiError::invalid("the certificate request", error))?;
        let uri = uri
            .try_into()
            .map_err(|error| PkiError::invalid("the agent's URI", error))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("Strongroom agent");
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(random_serial()?);
        validity.apply(&mut params)?;
        request.params = params;
        let certificate = request
            .signed_by(&self.issuer)
            .map_err(PkiError::generate(what))?;
        let info = inspect(certificate.der())?;
        Ok(Issued {
            chain_pem: certificate.pem() + &self.certificate_pem,
            serial: info.serial,
            not_after: info.not_after,
        })
    }
}

/// A new key (PEM) and a certificate request (PEM) for it.
pub fn new_key_and_request() -> Result<(Zeroizing<String>, String), PkiError> {
    let what = "the agent's key";
    let key = KeyPair::generate().map_err(PkiError::generate(what))?;
    let request = CertificateParams::default()
        .serialize_request(&key)
        .and_then(|request| request.pem())
        .map_err(PkiError::generate(what))?;
    Ok((Zeroizing::new(key.serialize_pem()), request))
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// 127 random bits: positive, and never twice the same.
fn random_serial() -> Result<SerialNumber, PkiError> {
    let mut bytes = *files::random_bytes::<16>()
        .map_err(|error| PkiError::invalid("the system's randomness", error))?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
