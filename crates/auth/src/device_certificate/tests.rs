//! These tests read good certificates in every form, and check what is said of each bad one.

use std::fs;

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};

use super::*;

/// Returns a new certificate and its key, as PEM text.
pub(crate) fn made() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["d1".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn defect(certificate: &str, key: &str) -> (DeviceCertificateDefect, String) {
    let error = DeviceCertificate::from_pem(certificate, key).unwrap_err();
    (error.defect(), error.to_string())
}

#[test]
fn a_certificate_and_its_key_are_read_from_two_texts_or_from_one() {
    let ((certificate, key), (ca, _)) = (made(), made());
    for (certificate, key, length) in [
        (certificate.clone(), key.clone(), 1),
        (format!("{certificate}{ca}"), key.clone(), 2),
        (format!("Bag Attributes\r\n{}", certificate.replace('\n', "\r\n")), key.replace('\n', "\r\n"), 1),
        (format!("{key}{certificate}"), format!("{key}{certificate}"), 1),
    ] {
        let read = DeviceCertificate::from_pem(certificate, key).unwrap();
        assert_eq!(read.certified().cert.len(), length);
    }
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let certificate = CertificateParams::new(["d1".to_owned()]).unwrap().self_signed(&key).unwrap();
    DeviceCertificate::from_pem(certificate.pem(), key.serialize_pem()).unwrap();
}

#[test]
fn debug_shows_nothing_of_the_key() {
    let (certificate, key) = made();
    let shown = format!("{:?}", DeviceCertificate::from_pem(certificate, key).unwrap());
    assert_eq!(shown, "DeviceCertificate { certificates: 1, .. }");
}

#[test]
fn each_defect_says_what_was_expected_and_what_to_do() {
    let ((certificate, key), (other, _)) = (made(), made());
    let body = key.lines().nth(1).unwrap();
    let cut = certificate.replace("-----END CERTIFICATE-----", "");
    let garbage = certificate.replacen("MII", "###", 1);
    let truncated = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", &body[..40]);
    let weak = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", &body[..40]);
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let older = key.replace(
        "BEGIN PRIVATE KEY-----",
        "BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n",
    );
    use DeviceCertificateDefect as Defect;
    for (texts, expected, advice) in [
        (("", key.as_str()), Defect::NoCertificate, "-----BEGIN CERTIFICATE-----"),
        (("\0\u{1}garbage", &key), Defect::NoCertificate, "name the file that your CA"),
        ((&key, &certificate), Defect::NoCertificate, "it holds a private key only"),
        ((&cut, &key), Defect::NotPem, "no line -----END"),
        ((&garbage, &key), Defect::NotPem, "is not base64: copy the whole file again"),
        ((&truncated, &key), Defect::UnusableCertificate, "expected is an X.509 certificate of version 3"),
        ((&certificate, ""), Defect::NoKey, "EC PRIVATE KEY or RSA PRIVATE KEY"),
        ((&certificate, &certificate), Defect::NoKey, "it holds certificates only"),
        ((&certificate, &encrypted), Defect::EncryptedKey, "`openssl pkey -in FILE -out NEW_FILE`"),
        ((&certificate, &older), Defect::EncryptedKey, "writes the key without it"),
        ((&certificate, &weak), Defect::UnusableKey, "ECDSA with P-256 or P-384"),
        ((&other, &key), Defect::OtherKey, "put the device's own certificate before those of its CAs"),
        ((&format!("{other}{certificate}"), &key), Defect::OtherKey, "the key of another certificate"),
    ] {
        let (found, text) = defect(texts.0, texts.1);
        assert_eq!(found, expected, "{text}");
        assert!(text.starts_with("the ") && text.contains(advice), "{text}");
        assert!(!text.contains(&body[..20]) && !text.contains('\n'), "{text}");
    }
}

#[test]
fn errors_name_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = made();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("d1.pem"), certificate).unwrap();
    fs::write(at("d1.key.pem"), key).unwrap();
    fs::write(at("large.pem"), vec![b'\n'; 2 * 1024 * 1024]).unwrap();
    fs::write(at("der.pem"), [&[0x30, 0x82, 1, 0][..], &[0; 256]].concat()).unwrap();
    let read = |certificate: &str, key: &str| DeviceCertificate::from_pem_files(at(certificate), at(key));
    read("d1.pem", "d1.key.pem").unwrap();
    for (certificate, key, name, advice) in [
        ("gone.pem", "d1.key.pem", "gone.pem", "check its path"),
        ("d1.pem", "gone.key", "gone.key", "check its path"),
        ("large.pem", "d1.key.pem", "large.pem", "check its path"),
        ("der.pem", "d1.key.pem", "der.pem", "`openssl x509 -inform der"),
        ("d1.pem", "der.pem", "der.pem", "`openssl pkey -inform der"),
        ("d1.pem", "d1.pem", "d1.pem", "it holds certificates only"),
    ] {
        let text = read(certificate, key).unwrap_err().to_string();
        assert!(text.contains(&at(name).display().to_string()) && text.contains(advice), "{text}");
    }
}
