//! Decoder, schema and reference come from the same tables: here is the proof.

use serde_json::Value as Json;

use super::super::keys::{Kind, Need, Section, When};
use super::super::tables::{ROOT, SECTIONS};
use super::*;

#[test]
fn every_default_example_and_sample_is_a_value_of_its_key() {
    for key in SECTIONS.iter().flat_map(|section| section.keys) {
        if let Need::Default(text) = key.need {
            assert!(
                key.default_value().is_some(),
                "default of {}: {text}",
                key.name
            );
        }
        if let When::Later {
            sample: Some(sample),
        } = key.when
        {
            assert!(
                key.read_constant(sample).is_some(),
                "sample of {}",
                key.name
            );
        }
        if key.example != "[…]" {
            let text = format!("{}: {}", key.name, key.example);
            let mut sink = super::super::diagnostic::Sink::new("", &text);
            let node = super::super::tree::parse(&text, &mut sink).expect("valid YAML");
            let super::super::tree::Content::Map(entries) = &node.content else {
                panic!()
            };
            let value = super::super::decode::constant(&entries[0].value, key, &mut sink);
            assert!(
                value.is_some(),
                "example of {}: {}",
                key.name,
                sink.into_diagnostics()
            );
        }
        assert!(key.help.ends_with('.'), "{}: {}", key.name, key.help);
    }
}

/// The section inside of a key, wherever it is.
fn inner(kind: &Kind) -> Option<&'static Section> {
    if let Kind::List { of, .. } = kind {
        return inner(of);
    }
    let (Kind::Section(of) | Kind::Named { of, .. }) = kind else {
        return None;
    };
    Some(of)
}

/// Sections reached from the root.
fn reached(section: &'static Section, all: &mut Vec<&'static Section>) {
    if all.iter().any(|known| std::ptr::eq(*known, section)) {
        return;
    }
    all.push(section);
    for of in section.keys.iter().filter_map(|key| inner(&key.kind)) {
        reached(of, all);
    }
}

#[test]
fn the_list_of_sections_is_complete() {
    let mut all = Vec::new();
    reached(&ROOT, &mut all);
    assert_eq!(all.len(), SECTIONS.len());
    assert!(
        all.iter()
            .all(|one| SECTIONS.iter().any(|known| std::ptr::eq(*known, *one)))
    );
}

#[test]
fn f7_every_number_is_accepted_at_its_bounds_and_refused_beyond() {
    let base = |section: &str, key: &str, value: String| match section {
        "a port" => Some(
            with("net_null0", &format!("net_null0, {key}: {value}"))
                .replace(", \"2001:db8::2/64\"", ""),
        ),
        "runtime" => Some(with("{control: 0}", &format!("{{{key}: {value}}}"))),
        "a health check" => Some(with(
            "{type: tcp}",
            &format!("{{type: http, {key}: {value}}}"),
        )),
        "timeouts" => Some(with(
            "health: up",
            &format!("health: up\n    timeouts: {{{key}: {value}}}"),
        )),
        "a server" => Some(with(
            "{name: s1",
            &format!("{{mode: nat, name: s1, {key}: {value}"),
        )),
        _ => None,
    };
    let mut count = 0;
    for section in SECTIONS {
        for key in section
            .keys
            .iter()
            .filter(|key| matches!(key.when, When::Now))
        {
            let (bounds, unit) = if let Kind::Int { min, max } = key.kind {
                ([min, max], "")
            } else if let Kind::Duration { min, max } = key.kind {
                ([min, max], "ms")
            } else if let Kind::Size { min, max } = key.kind {
                ([min, max], "B")
            } else {
                continue;
            };
            let text = |value| base(section.noun, key.name, format!("{value}{unit}"));
            let [min, max] = bounds;
            for text in [min, max].into_iter().filter_map(text) {
                accept(&text);
                count += 1;
            }
            let beyond = [max + 1, max * 10].into_iter().chain(min.checked_sub(1));
            for text in beyond.filter_map(text) {
                refuse(&text, "is out of range");
            }
        }
    }
    assert!(count >= 30, "{count} values tried");
}

fn as_json(text: &str) -> Json {
    serde_yaml::from_str::<Json>(text).expect("valid YAML")
}

/// Where `value` breaks `schema`, if anywhere: the part of draft-07 that ours uses, patterns aside.
fn breach(schema: &Json, value: &Json, at: &str) -> Option<String> {
    let rules = schema.as_object().expect("a schema is an object");
    if let Some((rule, wanted)) = rules
        .iter()
        .find(|(rule, wanted)| !keeps(rule, wanted, value))
    {
        return Some(format!("{at}: {rule} {wanted}"));
    }
    for item in value.as_array().into_iter().flatten() {
        if let Some(found) = rules.get("items").and_then(|items| breach(items, item, at)) {
            return Some(found);
        }
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{key}");
        let others = schema.get("additionalProperties");
        let found = match (schema["properties"].get(key), others) {
            (Some(property), _) => breach(property, inner, &at),
            (None, Some(Json::Bool(false))) => Some(format!("{at}: unknown")),
            (None, Some(other)) => breach(other, inner, &at),
            (None, None) => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Whether `value` keeps one rule of a schema, its parts aside.
fn keeps(rule: &str, wanted: &Json, value: &Json) -> bool {
    let list = || wanted.as_array().expect("a list").iter();
    let holds = |sub: &Json| breach(sub, value, "").is_none();
    match rule {
        "type" => match wanted.as_str() {
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.as_i64().is_some(),
            other => panic!("type {other:?}"),
        },
        "enum" => list().any(|choice| choice == value),
        "anyOf" => list().any(holds),
        "oneOf" => list().filter(|sub| holds(sub)).count() == 1,
        "minimum" => value.as_i64() >= wanted.as_i64() || value.as_i64().is_none(),
        "maximum" => value.as_i64() <= wanted.as_i64() || value.as_i64().is_none(),
        "required" => list().all(|key| value.get(key.as_str().expect("a name")).is_some()),
        "$schema"
        | "title"
        | "description"
        | "default"
        | "items"
        | "properties"
        | "pattern"
        | "additionalProperties"
        | "propertyNames"
        | "minItems"
        | "maxItems"
        | "maxProperties" => true,
        other => panic!("unknown rule {other}"),
    }
}

#[test]
fn the_schema_takes_sample_and_examples() {
    let schema = schema();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    for entry in std::fs::read_dir(examples()).expect("there are examples") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|ext| ext == "yaml") {
            let text = std::fs::read_to_string(&path).expect("readable");
            assert_eq!(
                breach(&schema, &as_json(&text), ""),
                None,
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn the_schema_refuses_what_it_can_see() {
    let schema = schema();
    assert_eq!(breach(&schema, &as_json(BASE), ""), None);
    for (from, to) in [
        ("port: 80", "port: 80\n    prot: 80"),
        ("port: 80", "port: 65536"),
        ("port: 80", "port: 80\n    ports: [80]"),
        ("port: 80", "port: true"),
        ("{control: 0}", "{heartbeat: 50}"),
        ("health: up", "scheduler: sed"),
        ("{type: tcp}", "{}"),
        ("    port: 80\n", ""),
        ("device: net_null0, ", ""),
    ] {
        assert!(
            breach(&schema, &as_json(&with(from, to)), "").is_some(),
            "{to}"
        );
    }
}

#[test]
fn schema_and_decoder_know_the_same_keys() {
    fn compare(section: &'static Section, json: &Json) {
        let mut names: Vec<_> = section.keys.iter().map(|key| key.name).collect();
        let properties = json["properties"].as_object().expect("an object");
        let mut schema: Vec<_> = properties.keys().map(String::as_str).collect();
        names.sort_unstable();
        schema.sort_unstable();
        assert_eq!(names, schema);
        assert_eq!(json["additionalProperties"], false);
        for key in section.keys {
            let property = &properties[key.name];
            assert!(
                property["description"]
                    .as_str()
                    .is_some_and(|text| text.len() > 4)
            );
            let Some(of) = inner(&key.kind) else { continue };
            let nested = [
                &property["items"],
                &property["additionalProperties"],
                property,
            ];
            let nested = nested
                .into_iter()
                .find(|json| json["properties"].is_object());
            compare(of, nested.expect("a nested object"));
        }
    }
    compare(&ROOT, &schema());
}

#[test]
fn the_schema_beside_the_examples_is_that_of_the_tables() {
    let path = examples().join("weir.schema.json");
    let fresh = format!("{:#}\n", schema());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &fresh).expect("the schema can be written");
    }
    let text = std::fs::read_to_string(path).expect("weir.schema.json; BLESS=1 writes it");
    assert!(
        text == fresh,
        "weir.schema.json is stale: run this test with BLESS=1"
    );
}

#[test]
fn the_reference_in_docs_is_that_of_the_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/CONFIG.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, reference()).expect("docs/CONFIG.md can be written");
    }
    let text = std::fs::read_to_string(path).expect("docs/CONFIG.md; BLESS=1 writes it");
    assert!(
        text == reference(),
        "docs/CONFIG.md is stale: run this test with BLESS=1"
    );
}
