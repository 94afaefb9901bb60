//! Which certificates an upstream may show: the system's roots and a configured bundle. Nothing turns checks off.

use std::sync::Arc;

use fault::{Fault, Kind};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A TLS client configuration trusting the system's roots and those in `ca_file` (PEM).
///
/// # Errors
/// `config` if the file cannot be read or holds no certificate.
pub(crate) fn client_config(ca_file: Option<&str>) -> Result<rustls::ClientConfig, Fault> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let pem = std::fs::read(path)
            .map_err(|error| Fault::new(Kind::Config, format!("ca_file {path}: {error}")))?;
        let before = roots.len();
        let bundle: Vec<_> = CertificateDer::pem_slice_iter(&pem)
            .filter_map(Result::ok)
            .collect();
        roots.add_parsable_certificates(bundle);
        if roots.len() == before {
            let message = format!("ca_file {path}: holds no certificate in PEM form");
            return Err(Fault::new(Kind::Config, message));
        }
    }
    // Named here rather than installed process-wide: another extension may have installed its own.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::new(Kind::Config, format!("tls: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
