//! Finds the credentials that Google's libraries will use, without reading their secrets.

use std::{io::ErrorKind, path::PathBuf};

use serde::Deserialize;

use crate::config::Environment;

/// The variable that names a file of credentials.
const VARIABLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// The public fields of such a file.
#[derive(Deserialize)]
struct CredentialsFile {
    #[serde(rename = "type")]
    kind: String,
    client_email: Option<String>,
}

/// Describes the credentials, their origin and any obvious problem. Searches in the same order as Google's libraries.
pub(super) async fn describe(environment: &Environment) -> String {
    let named = environment.get(VARIABLE).map(|path| (PathBuf::from(path), VARIABLE));
    let of_user = environment
        .get("HOME")
        .map(|home| (PathBuf::from(home).join(".config/gcloud/application_default_credentials.json"), "gcloud auth"));
    let is_named = named.is_some();
    let Some((path, from)) = named.or(of_user) else { return from_metadata_server() };
    let shown = format!("{} ({from})", path.display());
    match tokio::fs::read(&path).await {
        Ok(text) => format!("{}, {shown}", type_and_owner(&text)),
        Err(error) if error.kind() == ErrorKind::NotFound && !is_named => from_metadata_server(),
        Err(error) if error.kind() == ErrorKind::NotFound => format!("none: {shown} does not exist"),
        Err(error) => format!("none: cannot read {shown}: {error}"),
    }
}

fn from_metadata_server() -> String {
    "no file; on Google Cloud the metadata server provides them, elsewhere run `gcloud auth application-default login`"
        .to_owned()
}

fn type_and_owner(text: &[u8]) -> String {
    let Ok(CredentialsFile { kind, client_email }) = serde_json::from_slice(text) else {
        return "damaged: the file is not JSON with a \"type\"".to_owned();
    };
    let whose = client_email.map(|email| format!(" {email}")).unwrap_or_default();
    format!("{}{whose}", kind.replace('_', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn credentials_are_described_by_type_and_path_and_their_secrets_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        let named = Environment::of([(VARIABLE, path.to_str().unwrap()), ("HOME", "/nowhere")]);
        assert!(
            describe(&named).await.starts_with("none: ") && describe(&named).await.contains("does not exist"),
            "{}",
            describe(&named).await
        );
        for (text, starts) in [
            (r#"{"type":"authorized_user","refresh_token":"hush"}"#, "authorized user, "),
            (r#"{"type":"service_account","client_email":"a@b.c","private_key":"hush"}"#, "service account a@b.c, "),
            ("hush", "damaged"),
        ] {
            std::fs::write(&path, text).unwrap();
            let found = describe(&named).await;
            assert!(found.starts_with(starts) && found.contains("key.json") && !found.contains("hush"), "{found}");
        }
        for nothing in [Environment::of([]), Environment::of([("HOME", "/nowhere")])] {
            assert!(describe(&nothing).await.starts_with("no file; on Google Cloud"));
        }
    }
}
