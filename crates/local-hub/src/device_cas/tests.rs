//! These tests hold chains of every shape against the registered CAs, good ones and each kind of bad one.

use iothub_testkit::certificates::{Authority, ClientCertificate};

use super::*;

/// Returns the hub's CAs.
fn cas(registered: &[&Authority]) -> DeviceCas {
    let texts: Vec<&str> = registered.iter().map(|ca| ca.pem()).collect();
    DeviceCas::read(&texts).unwrap()
}

fn chain(presented: &ClientCertificate) -> ClientChain {
    ClientChain::unproven(presented.chain().to_vec())
}

fn check(registered: &[&Authority], presented: &ClientCertificate) -> Result<(), ChainFault> {
    cas(registered).check(&chain(presented), Timestamp::now())
}

fn seconds(days: i64) -> u64 {
    u64::try_from(Timestamp::now().as_second() + days * 86_400).unwrap()
}

#[test]
fn any_ca_of_the_chain_or_its_issuer_may_be_the_registered_one() {
    let root = Authority::root("root");
    let upper = root.intermediate("upper");
    let lower = upper.intermediate("lower");
    let device = lower.issue("d1");
    for registered in [&root, &upper, &lower] {
        assert_eq!(check(&[registered], &device), Ok(()));
    }
    assert_eq!(check(&[&lower], &device.alone()), Ok(()));
    assert_eq!(check(&[&root], &root.issue("d1")), Ok(()));
    assert_eq!(check(&[&root], &device.with(&root)), Ok(()));
    assert_eq!(check(&[&Authority::root("other"), &root], &device), Ok(()));
}

#[test]
fn the_order_of_the_chain_does_not_count_and_what_does_not_belong_to_it_is_passed_over() {
    let root = Authority::root("root");
    let device = root.intermediate("upper").intermediate("lower").issue("d1");
    let mut certificates = device.chain().to_vec();
    certificates[1..].reverse();
    certificates.push(Authority::root("stranger").der().to_vec());
    let shuffled = ClientChain::unproven(certificates);
    assert_eq!(cas(&[&root]).check(&shuffled, Timestamp::now()), Ok(()));
}

#[test]
fn a_chain_to_an_unknown_ca_names_where_it_ends() {
    let (root, other) = (Authority::root("root"), Authority::root("other"));
    let device = other.intermediate("middle").issue("d1");
    let missing = check(&[&root], &device).unwrap_err();
    assert_eq!(missing, ChainFault::UnknownIssuer("CN=middle".into(), "CN=other".into()));
    assert!(missing.to_string().starts_with("the chain ends at CN=middle, whose issuer CN=other is neither"));
    let unknown = check(&[&root], &device.with(&other)).unwrap_err();
    assert_eq!(unknown, ChainFault::UnknownRoot("CN=other".into()));
    assert_eq!(check(&[&root], &ClientCertificate::self_signed("d1")), Err(ChainFault::SelfSigned));
    let no_cas = DeviceCas::default().check(&chain(&device), Timestamp::now());
    assert_eq!(no_cas, Err(ChainFault::NoCas));
}

#[test]
fn a_chain_without_its_intermediate_names_it() {
    let root = Authority::root("root");
    let device = root.intermediate("middle").issue("d1").alone();
    let fault = check(&[&root], &device).unwrap_err();
    assert_eq!(fault, ChainFault::UnknownIssuer("CN=d1".into(), "CN=middle".into()));
    assert!(fault.to_string().contains("the device must send that intermediate"));
}

#[test]
fn a_ca_of_the_same_name_with_another_key_is_another_ca() {
    let (root, namesake) = (Authority::root("root"), Authority::root("root"));
    assert_eq!(check(&[&root], &namesake.issue("d1")), Err(ChainFault::Signature));
    assert_eq!(check(&[&namesake, &root], &root.issue("d1")), Ok(()));
    // A stranger's intermediate with the name of the real one.
    let device = root.intermediate("middle").issue("d1");
    let forged = Authority::root("middle").issue("d1");
    let mut certificates = forged.chain().to_vec();
    certificates.push(device.chain()[1].clone());
    let forged = ClientChain::unproven(certificates);
    assert_eq!(cas(&[&root]).check(&forged, Timestamp::now()), Err(ChainFault::Signature));
}

#[test]
fn every_link_must_be_valid_now_and_the_one_that_is_not_is_named() {
    let root = Authority::root("root");
    let old = root.intermediate_between("old", seconds(-9), seconds(-2), None);
    let fault = check(&[&root], &old.issue("d1")).unwrap_err();
    assert!(
        matches!(&fault, ChainFault::NotValid(name, NotValid::Expired(_)) if name == "CN=old"),
        "{fault}"
    );
    let early = root.intermediate_between("early", seconds(2), seconds(9), None);
    let fault = check(&[&root], &early.issue("d1")).unwrap_err();
    assert!(
        matches!(&fault, ChainFault::NotValid(name, NotValid::NotYet(_)) if name == "CN=early"),
        "{fault}"
    );
    let expired = root.issue_between("d1", seconds(-9), seconds(-2));
    assert!(matches!(check(&[&root], &expired), Err(ChainFault::NotValid(..))));
    let past = Authority::root_between("past", seconds(-9), seconds(-2));
    let fault = check(&[&past], &past.issue("d1")).unwrap_err();
    assert!(fault.to_string().starts_with("the certificate of CN=past in the chain expired at "), "{fault}");
}

#[test]
fn only_cas_issue_and_only_as_deep_as_they_may() {
    let root = Authority::root("root");
    let narrow = root.intermediate_between("narrow", seconds(-1), seconds(9), Some(0));
    assert_eq!(check(&[&root], &narrow.issue("d1")), Ok(()));
    let below = narrow.intermediate("below").issue("d1");
    assert_eq!(check(&[&root], &below), Err(ChainFault::PathLength));
    // The registered CA itself has the constraint.
    assert_eq!(check(&[&narrow], &below), Err(ChainFault::PathLength));
    assert_eq!(check(&[&narrow], &narrow.issue("d1")), Ok(()));
    let as_device = ClientChain::unproven([root.intermediate("middle").der().to_vec()]);
    assert_eq!(cas(&[&root]).check(&as_device, Timestamp::now()), Err(ChainFault::CaAsDevice));
}

#[test]
fn damaged_certificates_are_refused() {
    let root = Authority::root("root");
    let device = root.intermediate("middle").issue("d1");
    let cas = cas(&[&root]);
    for index in 0..2 {
        let mut certificates = device.chain().to_vec();
        certificates[index].truncate(40);
        let fault = cas.check(&ClientChain::unproven(certificates), Timestamp::now());
        assert_eq!(fault, Err(ChainFault::Unusable(Unusable::NotACertificate)));
        let mut certificates = device.chain().to_vec();
        // The last byte belongs to the signature.
        *certificates[index].last_mut().unwrap() ^= 1;
        let fault = cas.check(&ClientChain::unproven(certificates), Timestamp::now());
        assert_eq!(fault, Err(ChainFault::Signature));
    }
}

#[test]
fn a_text_that_is_not_the_certificate_of_a_ca_is_refused() {
    let root = Authority::root("root");
    let device = root.issue("d1");
    let read = |text: &str| DeviceCas::read(&[root.pem(), text]).map(drop);
    assert_eq!(read(""), Err((1, NotACa::Empty)));
    assert_eq!(read("garbage"), Err((1, NotACa::Empty)));
    assert_eq!(read(&root.key_pem()), Err((1, NotACa::Key)));
    assert_eq!(read(&format!("{}{}", root.pem(), root.key_pem())), Err((1, NotACa::Key)));
    assert_eq!(read(device.chain_pem()), Err((1, NotACa::NoCa(1, "CN=d1".into()))));
    let second = format!("{}{}", root.pem(), device.chain_pem());
    assert_eq!(read(&second), Err((1, NotACa::NoCa(2, "CN=d1".into()))));
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(read(damaged), Err((1, NotACa::Unusable(1, Unusable::NotACertificate))));
    let cut = root.pem().replace("-----END CERTIFICATE-----", "");
    assert_eq!(read(&cut), Err((1, NotACa::NotPem("a section has no end".into()))));
    let weak = include_str!("../../tests/files/rsa-1024.pem");
    assert_eq!(read(weak), Err((1, NotACa::Unusable(1, Unusable::WeakRsa(1024)))));
}
