//! Identifiers: valid and invalid texts.

use std::collections::HashSet;

use mediaforge::domain::{
    clock::SystemRandom,
    ids::{AccountId, JobId, UserId},
    kind::JobKind,
    trace::TraceContext,
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn an_idempotency_key_gives_one_id_per_user_and_kind(user in "[a-z]{1,8}", other in "[a-z]{1,8}", key in ".{1,40}") {
        let (a, b): (UserId, UserId) = (user.parse().expect("user"), other.parse().expect("user"));
        let id = JobId::derived(JobKind::Illustration, &a, &key);
        prop_assert_eq!(&id, &JobId::derived(JobKind::Illustration, &a, &key));
        prop_assert_eq!(id.as_str().parse::<JobId>().expect("parses"), id.clone());
        prop_assert_ne!(&id, &JobId::derived(JobKind::Brand, &a, &key));
        if a != b {
            prop_assert_ne!(&id, &JobId::derived(JobKind::Illustration, &b, &key));
        }
    }

    #[test]
    fn any_text_is_an_id_or_an_error(text in ".{0,200}") {
        if let Ok(user) = text.parse::<UserId>() {
            prop_assert_eq!(user.as_str(), &text);
            prop_assert!(!text.contains('/') && !text.contains('\\') && !text.starts_with('.') && text.len() <= 128);
            let account = AccountId::User(user);
            prop_assert_eq!(account.to_string().parse::<AccountId>().expect("account"), account);
        }
        if let Ok(id) = text.parse::<JobId>() {
            prop_assert_eq!(id.as_str(), &text);
        }
        if let Ok(trace) = text.parse::<TraceContext>() {
            prop_assert_eq!(trace.to_string(), text);
        }
    }
}

#[test]
fn random_ids_are_well_formed_and_do_not_repeat() {
    let ids: HashSet<_> = (0..10_000).map(|_| JobId::random(JobKind::Illustration, &SystemRandom)).collect();
    assert_eq!(ids.len(), 10_000);
    assert!(ids.iter().all(|id| id.as_str().parse::<JobId>().is_ok() && id.as_str().len() == 24));
}

#[test]
fn paths_and_control_characters_are_not_user_ids() {
    for text in ["", ".", "..", "../x", "a/b", "a\\b", "a b", "a\0b", "-a", "a\n", "é", &"x".repeat(129)] {
        assert!(text.parse::<UserId>().is_err(), "{text:?}");
    }
    for text in ["local", "u1", "ada@example.com", "a.b-c_d+e", &"x".repeat(128)] {
        assert!(text.parse::<UserId>().is_ok(), "{text:?}");
    }
}

#[test]
fn a_trace_of_zeros_or_of_another_version_is_invalid() {
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert!(good.parse::<TraceContext>().is_ok());
    for bad in [
        "",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
    ] {
        assert!(bad.parse::<TraceContext>().is_err(), "{bad:?}");
    }
}
