//! Writes the client from the description: a file for each area of the API, with its types and its operations.
//!
//! As a test it compares what it would write with what is there; with `OUTPOST_WRITE=1` it writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};

#[test]
fn the_client_is_written_from_the_description() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let description = std::fs::read_to_string(folder.join("openapi.json")).unwrap();
    let written = write(&serde_json::from_str(&description).unwrap());
    let generated = folder.join("src/generated");
    if std::env::var_os("OUTPOST_WRITE").is_some() {
        let _ = std::fs::remove_dir_all(&generated);
        std::fs::create_dir_all(&generated).unwrap();
        for (name, text) in &written {
            let mut file = std::fs::File::create(generated.join(name)).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        }
    }
    let there: BTreeSet<_> =
        std::fs::read_dir(&generated).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(there, written.keys().cloned().collect(), "run this test with `OUTPOST_WRITE=1`");
    for (name, text) in &written {
        let kept = std::fs::read_to_string(generated.join(name)).unwrap();
        assert!(&kept == text, "`src/generated/{name}` is of another day: run this test with `OUTPOST_WRITE=1`");
    }
}

/// Every file by its name.
fn write(description: &Value) -> BTreeMap<String, String> {
    let mut writer =
        Writer { components: &description["components"]["schemas"], written: BTreeSet::new(), types: String::new() };
    let mut areas: BTreeMap<String, (String, String)> = BTreeMap::new();
    for (path, item) in fields(&description["paths"]) {
        for (method, operation) in fields(item) {
            if !is_for_operators(operation, path) {
                continue;
            }
            let area = operation["tags"][0].as_str().unwrap().trim_start_matches('/').replace(['-', '.'], "_");
            let function = writer.operation(path, method, operation);
            let (types, functions) = areas.entry(area).or_default();
            types.push_str(&std::mem::take(&mut writer.types));
            functions.push_str(&function);
        }
    }
    let mut files = BTreeMap::new();
    let mut index = String::from(
        "//! What was written from `openapi.json`; `tests/generated.rs` writes it.\n\n\
         #![allow(missing_docs, reason = \"the description says it\")]\n\n",
    );
    for area in areas.keys() {
        writeln!(index, "#[rustfmt::skip]\nmod {area};").unwrap();
    }
    index.push('\n');
    let named: BTreeSet<String> = areas.values().flat_map(|(types, _)| defined(types)).collect();
    for (area, (types, functions)) in areas {
        if !types.is_empty() {
            writeln!(index, "pub use {area}::*;").unwrap();
        }
        let mut text = format!("//! `{area}`, as the description has it.\n\n");
        text.push_str(&imports(&format!("{types}{functions}\nClient"), &named));
        text.push_str(&types);
        write!(text, "\nimpl Client {{{functions}}}\n").unwrap();
        files.insert(format!("{area}.rs"), text);
    }
    files.insert("mod.rs".to_owned(), index);
    files
}

/// Names of the types that a text defines.
fn defined(text: &str) -> impl Iterator<Item = String> {
    let name =
        |line: &str| line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub type ")).map(str::to_owned);
    text.lines().filter_map(name).filter_map(|rest| rest.split([' ', '<']).next().map(str::to_owned))
}

/// What an area uses and does not define: nothing else is imported, so nothing needs to be forgiven.
fn imports(text: &str, named: &BTreeSet<String>) -> String {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("///"));
    let words: BTreeSet<&str> =
        code.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')).collect();
    let own: BTreeSet<String> = defined(text).collect();
    let of_crate = ["Answer", "Client", "ClientError", "Options", "Page"].into_iter();
    let of_crate: BTreeSet<&str> = of_crate.chain(named.iter().map(String::as_str)).collect();
    let of_crate: Vec<&str> = of_crate.into_iter().filter(|name| !own.contains(*name)).collect();
    let groups = [
        ("std::collections", vec!["BTreeMap"]),
        ("", vec![]),
        ("reqwest", vec!["Method"]),
        ("serde", vec!["Deserialize", "Serialize"]),
        ("serde_json", vec!["Map", "Value"]),
        ("", vec![]),
        ("crate", of_crate),
    ];
    let mut imports = String::new();
    for (path, names) in groups {
        let used: Vec<&str> = names.into_iter().filter(|name| words.contains(name)).collect();
        match used.as_slice() {
            [] if path.is_empty() && !imports.is_empty() && !imports.ends_with("\n\n") => imports.push('\n'),
            [] => {}
            [one] => writeln!(imports, "use {path}::{one};").unwrap(),
            many => writeln!(imports, "use {path}::{{{}}};", many.join(", ")).unwrap(),
        }
    }
    imports
}

/// Devices have a client of their own in the agent; what is no JSON is fetched with any client.
fn is_for_operators(operation: &Value, path: &str) -> bool {
    let is_json = |body: &Value| body.is_null() || body["content"]["application/json"].is_object();
    let answered = fields(&operation["responses"]).filter(|(status, _)| status.starts_with('2'));
    let is_json = is_json(&operation["requestBody"]) && answered.into_iter().all(|(_, response)| is_json(response));
    is_json && (path == "/health" || operation.get("security").is_none())
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

struct Writer<'a> {
    components: &'a Value,
    /// Types that stand somewhere already.
    written: BTreeSet<String>,
    types: String,
}

impl Writer<'_> {
    fn operation(&mut self, path: &str, method: &str, operation: &Value) -> String {
        let id = operation["operationId"].as_str().unwrap();
        let mut arguments = String::from("&self, ");
        let mut parts = Vec::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(name) => {
                    write!(arguments, "{name}: &str, ").unwrap();
                    parts.push(name.to_owned());
                }
                None => parts.push(format!("\"{part}\"")),
            }
        }
        let mut query = "&()";
        if let Some(kind) = self.query(id, operation) {
            write!(arguments, "query: &{kind}, ").unwrap();
            query = "query";
        }
        let mut request = format!("self.request(Method::{}, &[{}], {query})?", method.to_uppercase(), parts.join(", "));
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        if !body.is_null() {
            let kind = self.kind(body, &format!("{}Body", camel(id)));
            write!(arguments, "body: &{kind}, ").unwrap();
            request.push_str(".json(body)");
        }
        let success =
            fields(&operation["responses"]).find(|(status, _)| status.starts_with('2')).map(|(_, response)| response);
        let answer = success.map(|response| &response["content"]["application/json"]["schema"]).unwrap_or(&Value::Null);
        let answer = self.kind(answer, &format!("{}Answer", camel(id)));
        let summary = operation["summary"].as_str().unwrap();
        format!(
            "\n    /// {summary}\n    ///\n    /// # Errors\n    /// If the control plane refuses or cannot be asked.\n    \
             pub async fn {id}({arguments}options: &Options) -> Result<Answer<{answer}>, ClientError> {{\n        \
             self.send({request}, options).await\n    }}\n"
        )
    }

    /// The type of what stands after `?`, if something does.
    fn query(&mut self, id: &str, operation: &Value) -> Option<String> {
        let parameters = operation["parameters"].as_array()?;
        let parameters: Vec<_> = parameters.iter().filter(|one| one["in"] == "query").collect();
        if parameters.is_empty() {
            return None;
        }
        let mut object = Map::new();
        let mut needed = Vec::new();
        for parameter in parameters {
            let name = parameter["name"].as_str().unwrap();
            object.insert(name.to_owned(), parameter["schema"].clone());
            if parameter["required"] == true {
                needed.push(Value::from(name));
            }
        }
        let name = camel(id);
        let schema = serde_json::json!({ "type": "object", "properties": object, "required": needed });
        self.object(&name, &schema, true);
        Some(name)
    }

    /// The Rust type of a schema; an object without a name gets this one.
    fn kind(&mut self, schema: &Value, name: &str) -> String {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap().to_owned();
            if self.written.insert(name.clone()) {
                self.component(&name);
            }
            return name;
        }
        if let Some(forms) = schema["anyOf"].as_array() {
            return match forms.as_slice() {
                [form, null] if null["type"] == "null" => format!("Option<{}>", self.kind(form, name)),
                _ => "Value".to_owned(),
            };
        }
        match schema["type"].as_str() {
            Some("string") => "String".to_owned(),
            Some("boolean") => "bool".to_owned(),
            Some("number") => "f64".to_owned(),
            Some("integer") if schema["minimum"].as_f64().is_some_and(|least| least >= 0.0) => "u64".to_owned(),
            Some("integer") => "i64".to_owned(),
            Some("array") => format!("Vec<{}>", self.kind(&schema["items"], name)),
            Some("object") if schema["properties"].is_object() => match page(schema) {
                Some(entry) => format!("Page<{}>", self.kind(entry, name)),
                None => {
                    self.object(name, schema, false);
                    name.to_owned()
                }
            },
            Some("object") if schema["additionalProperties"].is_object() => {
                format!("BTreeMap<String, {}>", self.kind(&schema["additionalProperties"], name))
            }
            Some("object") => "Map<String, Value>".to_owned(),
            _ => "Value".to_owned(),
        }
    }

    fn component(&mut self, name: &str) {
        let schema = &self.components[name];
        if schema["type"] == "object" && schema["properties"].is_object() {
            return self.object(name, schema, false);
        }
        let kind = self.kind(schema, &format!("{name}Value"));
        write!(self.types, "\npub type {name} = {kind};\n").unwrap();
    }

    fn object(&mut self, name: &str, schema: &Value, is_query: bool) {
        let needed: BTreeSet<_> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut lines = String::new();
        let mut has_default = true;
        for (field, form) in fields(&schema["properties"]) {
            let kind = self.kind(form, &format!("{name}{}", camel(field)));
            let spelled = if ["where", "type", "match", "ref", "for", "use", "in", "as", "move", "impl", "mod"]
                .contains(&field.as_str())
            {
                format!("r#{field}")
            } else {
                field.clone()
            };
            if needed.contains(field.as_str()) {
                has_default &= !kind.contains(|character: char| character.is_ascii_uppercase()) || kind == "String";
                writeln!(lines, "    pub {spelled}: {kind},").unwrap();
            } else {
                let kind = if kind.starts_with("Option<") { kind } else { format!("Option<{kind}>") };
                writeln!(lines, "    #[serde(default, skip_serializing_if = \"Option::is_none\")]").unwrap();
                writeln!(lines, "    pub {spelled}: {kind},").unwrap();
            }
        }
        let default = if is_query || has_default { "Default, " } else { "" };
        let derives = format!("#[derive(Debug, Clone, {default}PartialEq, Serialize, Deserialize)]");
        write!(self.types, "\n{derives}\npub struct {name} {{\n{lines}}}\n").unwrap();
    }
}

/// The entry of a page, if the schema is one.
fn page(schema: &Value) -> Option<&Value> {
    let properties = schema["properties"].as_object()?;
    let entries = properties.get("entries").filter(|_| properties.len() == 2 && properties.contains_key("next"))?;
    (entries["type"] == "array").then(|| &entries["items"])
}

/// `list_devices` as `ListDevices`.
fn camel(name: &str) -> String {
    let parts = name.split(['_', '-', '.']);
    parts.map(|part| part[..1].to_uppercase() + &part[1..]).collect()
}

#[test]
fn types_are_as_wide_as_their_schemas() {
    let description = serde_json::json!({
        "components": {"schemas": {"Thing": {"type": "object", "required": ["name", "gone"], "properties": {
            "name": {"type": "string"},
            "gone": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "size": {"type": "integer", "minimum": 0},
            "where": {"type": "array", "items": {"type": "string"}},
        }}}},
        "paths": {"/v1/things/{thing}": {"get": {
            "operationId": "show_thing", "tags": ["things"], "summary": "One thing.",
            "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}}},
        }}},
    });
    let written = write(&description);
    let text = &written["things.rs"];
    for line in [
        "    pub name: String,",
        "    pub gone: Option<i64>,",
        "    pub size: Option<u64>,",
        "    pub r#where: Option<Vec<String>>,",
        "pub async fn show_thing(&self, thing: &str, options: &Options) -> Result<Answer<Thing>, ClientError> {",
        "self.send(self.request(Method::GET, &[\"v1\", \"things\", thing], &())?, options).await",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let imported = "use reqwest::Method;\nuse serde::{Deserialize, Serialize};\n\nuse crate::{Answer, Client, ClientError, Options};\n";
    assert!(text.contains(imported) && !text.contains("BTreeMap") && !text.contains("unused"), "{text}");
}
