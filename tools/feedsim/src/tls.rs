//! A certificate authority of the venue's own, and a certificate for 127.0.0.1, ::1 and localhost.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// The authority's certificate, which a client must trust.
pub const CA_FILE: &str = "ca.pem";

/// Makes both anew and writes the authority's certificate into a directory; no key leaves this process.
///
/// # Errors
/// Where the directory cannot be written, or the machine has no randomness.
pub fn acceptor(folder: &Path) -> Result<TlsAcceptor, String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.display());
    let made = |error: rcgen::Error| told(&error);
    let ca_key = KeyPair::generate().map_err(made)?;
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "feedsim authority");
    let ca_certificate = ca.self_signed(&ca_key).map_err(made)?;
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().map_err(made)?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let certificate = CertificateParams::new(names).map_err(made)?.signed_by(&key, &issuer).map_err(made)?;
    std::fs::create_dir_all(folder).map_err(|error| told(&error))?;
    std::fs::write(folder.join(CA_FILE), ca_certificate.pem()).map_err(|error| told(&error))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key)
        })
        .map_err(|error| told(&error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
