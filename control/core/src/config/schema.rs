//! The key tables as JSON Schema (draft-07, for editors) and as docs/CONFIG.md.

use serde_json::{Map, Value as Json, json};

use super::keys::{Key, Kind, Need, Section, When};
use super::tables::ROOT;

/// The JSON Schema (draft-07) of the configuration file.
pub fn schema() -> Json {
    let mut root = object(&ROOT);
    if let Json::Object(map) = &mut root {
        map.insert(
            "$schema".into(),
            json!("http://json-schema.org/draft-07/schema#"),
        );
        map.insert("title".into(), json!("Weir configuration"));
    }
    root
}

fn object(section: &'static Section) -> Json {
    let mut properties = Map::new();
    for key in section.keys {
        properties.insert(key.name.into(), property(key));
    }
    let required = section
        .keys
        .iter()
        .filter(|key| matches!(key.need, Need::Required));
    let required: Vec<_> = required.map(|key| key.name).collect();
    let mut object = json!({
        "type": "object", "additionalProperties": false, "properties": properties,
    });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    if properties_one_of_ports(section) {
        object["oneOf"] = json!([{"required": ["port"]}, {"required": ["ports"]}]);
    }
    object
}

/// A service has either `port` or `ports`, which no single key can say.
fn properties_one_of_ports(section: &'static Section) -> bool {
    section.key("port").is_some() && section.key("ports").is_some()
}

fn property(key: &Key) -> Json {
    let mut property = kind(&key.kind);
    let status = match key.when {
        When::Now => "",
        When::Later { .. } => "Not in this release. ",
    };
    property["description"] = json!(format!("{status}{}", key.help));
    if let Need::Default(text) = key.need {
        property["default"] = default(&key.kind, text);
    }
    property
}

/// A default as JSON would have it.
fn default(kind: &Kind, text: &str) -> Json {
    match kind {
        Kind::Bool | Kind::Int { .. } | Kind::Signed { .. } => {
            serde_json::from_str(text).unwrap_or(json!(text))
        }
        Kind::List { .. } if text == "[]" => json!([]),
        Kind::List { .. } => {
            json!(
                text.trim_matches(['[', ']'])
                    .split(", ")
                    .collect::<Vec<_>>()
            )
        }
        Kind::Span { .. }
        | Kind::Word(_)
        | Kind::Choice(_)
        | Kind::Duration { .. }
        | Kind::Size { .. }
        | Kind::OneOrList { .. }
        | Kind::Section(_)
        | Kind::Named { .. }
        | Kind::Opaque => json!(text),
    }
}

fn kind(kind: &Kind) -> Json {
    match kind {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Int { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Signed { min, max } => {
            json!({"type": "integer", "minimum": min, "maximum": max})
        }
        Kind::Span { min, max } => json!({"anyOf": [
            {"type": "integer", "minimum": min, "maximum": max},
            {"type": "string", "pattern": "^[0-9]+ *- *[0-9]+$"},
        ]}),
        Kind::Word(word) if word.pattern.is_empty() => json!({"type": "string"}),
        Kind::Word(word) => json!({"type": "string", "pattern": word.pattern}),
        Kind::Choice(choices) => {
            let names = choices
                .iter()
                .filter(|c| c.now || choices.iter().all(|c| !c.now));
            json!({"enum": names.map(|choice| choice.name).collect::<Vec<_>>()})
        }
        Kind::Duration { .. } => json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"}),
        Kind::Size { .. } => json!({"type": "string", "pattern": "^[0-9]+([KMG]i)?B$"}),
        Kind::List { of, min, max } => {
            json!({"type": "array", "items": self::kind(of), "minItems": min, "maxItems": max})
        }
        Kind::OneOrList { of, max } => json!({"anyOf": [
            self::kind(of),
            {"type": "array", "items": self::kind(of), "minItems": 1, "maxItems": max},
        ]}),
        Kind::Section(section) => object(section),
        Kind::Named { of, max } => json!({
            "type": "object", "additionalProperties": object(of), "maxProperties": max,
            "propertyNames": {"pattern": super::tables::NAME.pattern},
        }),
        Kind::Opaque => json!({}),
    }
}

/// docs/CONFIG.md: every key with type, default, bounds, meaning and example.
pub fn reference() -> String {
    let mut text = String::from(include_str!("reference_head.md"));
    let mut sections: Vec<(String, &'static Section)> = vec![(String::new(), &ROOT)];
    let mut next = 0;
    while let Some((path, section)) = sections.get(next).cloned() {
        next += 1;
        let title = if path.is_empty() {
            "Top level".to_owned()
        } else {
            format!("`{path}`")
        };
        text.push_str(&format!(
            "\n## {title}\n\n| key | takes | default | meaning | example |\n|---|---|---|---|---|\n"
        ));
        for key in section.keys {
            text.push_str(&row(key));
            if let Some((suffix, inner)) = inner(&key.kind) {
                let dot = if path.is_empty() { "" } else { "." };
                sections.push((format!("{path}{dot}{}{suffix}", key.name), inner));
            }
        }
    }
    text
}

/// The section inside of a key, with what its path gains.
fn inner(kind: &'static Kind) -> Option<(&'static str, &'static Section)> {
    if let Kind::List { of, .. } = kind {
        return inner(of).map(|(_, section)| ("[]", section));
    }
    if let Kind::Named { of, .. } = kind {
        return Some((".NAME", of));
    }
    let Kind::Section(section) = kind else {
        return None;
    };
    Some(("", section))
}

fn row(key: &Key) -> String {
    let default = match key.need {
        Need::Required => "**required**".into(),
        Need::Optional => "—".into(),
        Need::Default(text) => format!("`{text}`"),
        Need::Derived(words) => words.to_owned(),
    };
    let status = match key.when {
        When::Now => "",
        When::Later { .. } => "*Not in this release.* ",
    };
    let takes = key.kind.allowed().replace('|', "\\|");
    format!(
        "| `{}` | {takes} | {default} | {status}{} | `{}` |\n",
        key.name, key.help, key.example
    )
}
