//! Reads certificates: whose they are and how long they hold.

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{extensions::GeneralName, prelude::FromDer};

use super::PkiError;

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Serial number, lowercase hex.
    pub serial: String,
    /// URI subject alternative names.
    pub uris: Vec<String>,
    /// Holds from here.
    pub not_before: Timestamp,
    /// Holds until here.
    pub not_after: Timestamp,
}

/// Reads one DER certificate. Does not verify it.
pub fn inspect(certificate: &CertificateDer<'_>) -> Result<CertificateInfo, PkiError> {
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate)
        .map_err(|error| PkiError::invalid("the certificate", error))?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|error| PkiError::invalid("the certificate's subject names", error))?;
    let uris = names
        .map(|names| &names.value.general_names[..])
        .unwrap_or_default()
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        })
        .collect();
    let time = |time: x509_parser::time::ASN1Time| {
        Timestamp::from_second(time.timestamp())
            .map_err(|error| PkiError::invalid("the certificate's validity", error))
    };
    Ok(CertificateInfo {
        serial: HEXLOWER.encode(parsed.raw_serial()),
        uris,
        not_before: time(parsed.validity().not_before)?,
        not_after: time(parsed.validity().not_after)?,
    })
}

/// All certificates of a PEM text, in order; at least one.
pub fn parse_chain(what: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| PkiError::invalid(what, error))?;
    if chain.is_empty() {
        return Err(PkiError::invalid(what, "it holds no certificate"));
    }
    Ok(chain)
}
