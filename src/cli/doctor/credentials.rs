//! Which credentials Google's libraries find here, without a look at their secrets.

use std::{io::ErrorKind, path::PathBuf};

use serde::Deserialize;

use crate::config::Environment;

/// The variable that names a file of credentials.
const VARIABLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// What such a file says of itself.
#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
    client_email: Option<String>,
}

/// The credentials, where they come from, and what is wrong with them at first sight. In the order in which Google looks.
pub(super) async fn found(environment: &Environment) -> String {
    let named = environment.get(VARIABLE).map(|path| (PathBuf::from(path), VARIABLE));
    let of_user = environment
        .get("HOME")
        .map(|home| (PathBuf::from(home).join(".config/gcloud/application_default_credentials.json"), "gcloud auth"));
    let is_named = named.is_some();
    let Some((path, from)) = named.or(of_user) else { return of_the_machine() };
    let shown = format!("{} ({from})", path.display());
    match tokio::fs::read(&path).await {
        Ok(text) => format!("{}, {shown}", described(&text)),
        Err(error) if error.kind() == ErrorKind::NotFound && !is_named => of_the_machine(),
        Err(error) if error.kind() == ErrorKind::NotFound => format!("none: there is no file {shown}"),
        Err(error) => format!("none: cannot read {shown}: {error}"),
    }
}

fn of_the_machine() -> String {
    "no file; those of the machine, where it runs on Google Cloud (elsewhere: gcloud auth application-default login)"
        .to_owned()
}

fn described(text: &[u8]) -> String {
    let Ok(Kind { kind, client_email }) = serde_json::from_slice(text) else {
        return "damaged: no JSON with a type".to_owned();
    };
    let whose = client_email.map(|email| format!(" {email}")).unwrap_or_default();
    format!("{}{whose}", kind.replace('_', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn credentials_are_named_by_kind_and_place_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        let named = Environment::of([(VARIABLE, path.to_str().unwrap()), ("HOME", "/nowhere")]);
        assert!(found(&named).await.starts_with("none: there is no file"), "{}", found(&named).await);
        for (text, starts) in [
            (r#"{"type":"authorized_user","refresh_token":"hush"}"#, "authorized user, "),
            (r#"{"type":"service_account","client_email":"a@b.c","private_key":"hush"}"#, "service account a@b.c, "),
            ("hush", "damaged"),
        ] {
            std::fs::write(&path, text).unwrap();
            let found = found(&named).await;
            assert!(found.starts_with(starts) && found.contains("key.json") && !found.contains("hush"), "{found}");
        }
        for nothing in [Environment::of([]), Environment::of([("HOME", "/nowhere")])] {
            assert!(found(&nothing).await.starts_with("no file; those of the machine"));
        }
    }
}
