//! Updates: a mask names the fields that change.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tonic::Status;

/// A resource whose fields in `mask` (`"pushConfig,retryPolicy.minimumBackoff"`, in either spelling) come from `update`;
/// a field that is absent there is unset. `open` lists the fields that may change.
pub fn apply<T: Serialize + DeserializeOwned>(
    resource: &T,
    update: &Value,
    mask: &str,
    open: &[&str],
) -> Result<T, Status> {
    let refuse = |reason: String| Status::invalid_argument(reason);
    let mut value = serde_json::to_value(resource).map_err(|error| Status::internal(error.to_string()))?;
    if mask.is_empty() {
        return Err(refuse("the update_mask names at least one field".to_owned()));
    }
    for path in mask.split(',') {
        let path: Vec<String> = path.trim().split('.').map(camel).collect();
        if !open.contains(&path[0].as_str()) {
            return Err(refuse(format!("the field {:?} of the update_mask cannot be updated", path.join("."))));
        }
        let found = path.iter().try_fold(update, |value, key| value.get(key)).cloned();
        set(&mut value, &path, found);
    }
    serde_json::from_value(value).map_err(|error| refuse(format!("after the update: {error}")))
}

fn set(value: &mut Value, path: &[String], new: Option<Value>) {
    let Some((key, rest)) = path.split_first() else { return };
    if !value.is_object() {
        *value = Value::Object(serde_json::Map::new());
    }
    let Value::Object(fields) = value else { return };
    if !rest.is_empty() {
        set(fields.entry(key).or_insert(Value::Null), rest, new);
    } else if let Some(new) = new {
        fields.insert(key.clone(), new);
    } else {
        fields.remove(key);
    }
}

/// Spells `push_config` as `pushConfig`.
fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut rest = part.chars();
        camel.extend(rest.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(rest.as_str());
    }
    camel
}
