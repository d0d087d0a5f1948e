//! Which tokens begin, end, fill and separate, and the chat template.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::Keys;
use super::file::{Config, File, Templates};
use crate::gguf::{Array, Value};

/// Names in the configuration, and in GGUF. `seperator` is how the format spells it.
const ROLES: &[(&str, &str)] = &[
    ("bos_token", "bos_token_id"),
    ("eos_token", "eos_token_id"),
    ("unk_token", "unknown_token_id"),
    ("pad_token", "padding_token_id"),
    ("sep_token", "seperator_token_id"),
    ("cls_token", "cls_token_id"),
    ("mask_token", "mask_token_id"),
];

pub(super) fn put(keys: &mut Keys, file: &File, config: &Config, ids: &HashMap<String, u32>) {
    let (opening, closing) = frame(&file.post_processor);
    let framed = |text: Option<&str>, role: &str| match (config.role(role), text) {
        (Some(_), _) | (None, None) => None,
        (None, Some(text)) => ids.get(text).copied(),
    };
    let bert = file.model.kind.as_deref() == Some("WordPiece");
    for (role, key) in ROLES {
        let written = config.role(role).and_then(|text| ids.get(text)).copied();
        // Without a configuration, what stands around every text says which tokens begin and end it.
        let id = written.or_else(|| match *role {
            "unk_token" => file.model.unk_token.as_deref().and_then(|text| ids.get(text)).copied(),
            "bos_token" if !bert => framed(opening, role),
            "eos_token" if !bert => framed(closing, role),
            "cls_token" if bert => framed(opening, role),
            "sep_token" if bert => framed(closing, role),
            _ => None,
        });
        if let Some(id) = id {
            keys.put(key, Value::U32(id));
        }
    }
    if !bert {
        let stands = |text: Option<&str>, role| text.is_some() && config.role(role).is_none_or(|own| text == Some(own));
        keys.flag("add_bos_token", config.add_bos_token.unwrap_or_else(|| stands(opening, "bos_token")));
        keys.flag("add_eos_token", config.add_eos_token.unwrap_or_else(|| stands(closing, "eos_token")));
    }
    match &config.chat_template {
        None => {}
        Some(Templates::One(template)) => {
            keys.0.push(("tokenizer.chat_template".to_owned(), Value::Text(template.clone())));
        }
        Some(Templates::Several(templates)) => {
            let mut names = Vec::new();
            for template in templates {
                let mut key = "tokenizer.chat_template".to_owned();
                if template.name != "default" {
                    key = format!("{key}.{}", template.name);
                    names.push(template.name.clone());
                }
                if !keys.0.iter().any(|written| written.0 == key) {
                    keys.0.push((key, Value::Text(template.template.clone())));
                }
            }
            if !names.is_empty() {
                keys.0.push(("tokenizer.chat_templates".to_owned(), Value::Array(Array::Text(names))));
            }
        }
    }
}

/// The special tokens that the post-processor puts before and after a text.
fn frame(processor: &Json) -> (Option<&str>, Option<&str>) {
    match processor.get("type").and_then(Json::as_str).unwrap_or_default() {
        "Sequence" => {
            let steps = processor.get("processors").and_then(Json::as_array);
            // Only templates and their older forms put anything; the parser bounds how deep lists nest.
            steps.into_iter().flatten().map(frame).find(|frame| *frame != (None, None)).unwrap_or_default()
        }
        "TemplateProcessing" => {
            let single = processor.get("single").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
            (single.first().and_then(special), single.last().and_then(special))
        }
        "BertProcessing" | "RobertaProcessing" => {
            let first = |name: &str| processor.get(name)?.get(0)?.as_str();
            (first("cls"), first("sep"))
        }
        _ => (None, None),
    }
}

fn special(part: &Json) -> Option<&str> {
    part.get("SpecialToken")?.get("id")?.as_str()
}
