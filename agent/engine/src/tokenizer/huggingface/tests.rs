//! A `tokenizer.json` gives the tokens of the vocabulary it was made from, and what cannot be read is refused by name.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use super::*;
use crate::gguf::Gguf;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::tests::{phi3, published, qwen2, vocabulary};

const QWEN_2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const CL100K: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

fn read(file: &Json, config: Option<&Json>) -> Result<Vec<(String, Value)>, TokenizerError> {
    metadata(file.to_string().as_bytes(), config.map(|config| config.to_string().into_bytes()).as_deref())
}

fn get<'keys>(keys: &'keys [(String, Value)], name: &str) -> Option<&'keys Value> {
    keys.iter().find(|key| key.0 == format!("tokenizer.ggml.{name}")).map(|key| &key.1)
}

fn refusal(file: &Json) -> String {
    read(file, None).expect_err("it is refused").to_string()
}

/// The ordinary tokens of a vocabulary and those that are matched whole, as `tokenizer.json` has them.
fn tokens_of(gguf: &Gguf) -> (Map<String, Json>, Vec<Json>) {
    let texts = gguf.get("tokenizer.ggml.tokens").and_then(Value::as_texts).expect("it has tokens");
    let types = gguf.get("tokenizer.ggml.token_type").and_then(Value::as_counts).expect("it has types");
    let (mut ordinary, mut added) = (Map::new(), Vec::new());
    for (id, (text, kind)) in texts.iter().zip(types).enumerate() {
        match kind {
            1 | 6 => drop(ordinary.insert(text.clone(), id.into())),
            _ => added.push(json!({"id": id, "content": text, "special": kind != 4})),
        }
    }
    (ordinary, added)
}

/// The merges that a SentencePiece vocabulary comes to: every way to cut a token in two, in the order of the scores.
fn merges_of(gguf: &Gguf, ordinary: &Map<String, Json>) -> Vec<Json> {
    let Some(Value::Array(Array::F32(scores))) = gguf.get("tokenizer.ggml.scores") else { panic!("it has scores") };
    let id = |text: &str| ordinary.get(text).and_then(Json::as_u64);
    let mut merges = Vec::new();
    for (text, token) in ordinary.iter().filter(|(text, _)| byte_of(text).is_none()) {
        let score = scores[usize::try_from(token.as_u64().expect("an id")).expect("it fits")];
        for (cut, _) in text.char_indices().skip(1) {
            if let (Some(left), Some(right)) = (id(&text[..cut]), id(&text[cut..])) {
                merges.push((score, left, right, json!([text[..cut], text[cut..]])));
            }
        }
    }
    merges.sort_by(|one, other| other.0.total_cmp(&one.0).then((one.1, one.2).cmp(&(other.1, other.2))));
    merges.into_iter().map(|merge| merge.3).collect()
}

fn byte_level(expression: &str) -> Json {
    json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
    ]})
}

fn small_byte_level(expression: &str, ignore_merges: bool) -> Json {
    json!({
        "added_tokens": [{"id": 3, "content": "<|im_end|>", "special": true}],
        "pre_tokenizer": byte_level(expression),
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"], "ignore_merges": ignore_merges},
    })
}

#[test]
fn the_qwen2_vocabulary_as_json_gives_the_published_tokens() {
    let gguf = vocabulary("qwen2");
    let (ordinary, added) = tokens_of(&gguf);
    let merges = gguf.get("tokenizer.ggml.merges").and_then(Value::as_texts).expect("it has merges");
    let file = json!({
        "added_tokens": added, "normalizer": {"type": "NFC"}, "pre_tokenizer": byte_level(QWEN_2),
        "model": {"type": "BPE", "vocab": ordinary, "merges": merges},
    });
    let config = json!({
        "bos_token": null, "eos_token": "<|im_end|>", "pad_token": {"content": "<|endoftext|>", "special": true},
        "add_bos_token": false, "chat_template": "{{ messages }}",
    });
    let keys = read(&file, Some(&config)).expect("it is read");
    assert_eq!(get(&keys, "pre"), Some(&Value::Text("qwen2".to_owned())));
    assert!(keys.contains(&("tokenizer.chat_template".to_owned(), Value::Text("{{ messages }}".to_owned()))));
    let tokenizer = Tokenizer::from_metadata(&keys).expect("the tokenizer builds");
    for (text, expected) in published("qwen2") {
        assert_eq!(tokenizer.encode(&text, false, false), expected, "{text:?}");
    }
    assert_eq!(tokenizer.vocabulary(), qwen2().vocabulary());
    assert_eq!(tokenizer.eos(), qwen2().special("<|im_end|>"));
    assert_eq!((tokenizer.bos(), tokenizer.add_bos()), (None, false));
}

#[test]
fn the_phi_3_vocabulary_as_json_gives_the_published_tokens() {
    let gguf = vocabulary("phi-3");
    let (mut ordinary, added) = tokens_of(&gguf);
    let merges = merges_of(&gguf, &ordinary);
    ordinary.extend([("<unk>".to_owned(), 0.into()), ("<s>".to_owned(), 1.into()), ("</s>".to_owned(), 2.into())]);
    let file = json!({
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]},
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
        ]},
        "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "vocab": ordinary, "merges": merges},
    });
    let keys = read(&file, None).expect("it is read");
    let tokenizer = Tokenizer::from_metadata(&keys).expect("the tokenizer builds");
    for (text, expected) in published("phi-3") {
        assert_eq!(tokenizer.encode(&text, false, false), expected, "{text:?}");
        assert_eq!(tokenizer.decode(&expected), text);
    }
    assert_eq!((tokenizer.bos(), tokenizer.add_bos()), (phi3().bos(), true));
}

#[test]
fn each_way_of_cutting_words_is_told_by_its_expression() {
    for (expression, ignore_merges, expected) in
        [(QWEN_2, false, "qwen2"), (CL100K, true, "llama-bpe"), (CL100K, false, "dbrx")]
    {
        let keys = read(&small_byte_level(expression, ignore_merges), None).expect("it is read");
        assert_eq!(get(&keys, "pre"), Some(&Value::Text(expected.to_owned())));
    }
    // What the writer of the file says no more about is GPT-2's own.
    let mut file = small_byte_level("", false);
    file["pre_tokenizer"] = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true});
    assert_eq!(get(&read(&file, None).expect("it is read"), "pre"), Some(&Value::Text("gpt-2".to_owned())));
}

#[test]
fn what_keys_cannot_say_is_refused_by_showing_it() {
    assert!(refusal(&small_byte_level(r"\p{Han}+", false)).contains(r"`\p{Han}+`"));
    assert!(refusal(&small_byte_level(QWEN_2, true)).contains("model.ignore_merges"));
    let with = |part: &str, value: Json| {
        let mut file = small_byte_level(QWEN_2, false);
        file[part] = value;
        refusal(&file)
    };
    assert!(with("normalizer", json!({"type": "NFKC"})).contains("NFKC"));
    assert!(with("pre_tokenizer", json!({"type": "Whitespace"})).contains("Whitespace"));
    assert!(with("model", json!({"type": "Unigram", "vocab": [["a", -1.0]]})).contains("Unigram"));
    assert!(with("model", json!({"type": "BPE", "vocab": {"a": 0, "b": 0}})).contains("token 0 is both"));
    assert!(with("model", json!({"type": "BPE", "vocab": {"a": 1_u64 << 40}})).contains("too large"));
    assert!(with("model", json!({"type": "BPE", "vocab": {}, "merges": ["ab"]})).contains("merges"));
    assert!(with("added_tokens", json!([{"id": 9, "content": "a"}])).contains("two ids"));
    assert!(metadata(&[b'['; 100_000], None).is_err(), "nesting is bounded");
    assert!(metadata(b"{}", None).is_err());
    assert!(metadata(small_byte_level(QWEN_2, false).to_string().as_bytes(), Some(b"[]")).is_err());
}

#[test]
fn word_pieces_are_spelled_as_gguf_spells_them() {
    let file = json!({
        "added_tokens": [
            {"id": 0, "content": "[UNK]", "special": true}, {"id": 1, "content": "[CLS]", "special": true},
            {"id": 2, "content": "[SEP]", "special": true},
        ],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "lowercase": true, "strip_accents": null},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
        "model": {"type": "WordPiece", "unk_token": "[UNK]",
            "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "play": 3, "##ing": 4, "ing": 5, "#": 6, "!": 7}},
    });
    let keys = read(&file, None).expect("it is read");
    let spelled = ["[UNK]", "[CLS]", "[SEP]", "▁play", "ing", "▁ing", "▁#", "▁!"].map(str::to_owned).to_vec();
    assert_eq!(get(&keys, "tokens"), Some(&Value::Array(Array::Text(spelled))));
    let tokenizer = Tokenizer::from_metadata(&keys).expect("the tokenizer builds");
    assert_eq!(tokenizer.encode_for_embedding("Playing INGING, Pläy!"), [1, 3, 4, 5, 4, 0, 3, 7, 2]);
}

#[test]
fn an_id_between_others_that_no_token_has_writes_nothing() {
    let mut file = small_byte_level(QWEN_2, false);
    file["added_tokens"][0]["id"] = 5.into();
    let tokenizer = Tokenizer::from_metadata(&read(&file, None).expect("it is read")).expect("the tokenizer builds");
    assert_eq!((tokenizer.vocabulary(), tokenizer.text(4)), (6, Some("[PAD4]")));
    assert_eq!(tokenizer.decode(&[2, 3, 4, 5]), "ab");
    assert!(!tokenizer.encode("[PAD4]", true, false).contains(&4));
}

#[test]
fn several_chat_templates_keep_their_names() {
    let config =
        json!({"chat_template": [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]});
    let keys: HashMap<_, _> =
        read(&small_byte_level(QWEN_2, false), Some(&config)).expect("it is read").into_iter().collect();
    assert_eq!(keys["tokenizer.chat_template"], Value::Text("D".to_owned()));
    assert_eq!(keys["tokenizer.chat_template.tool_use"], Value::Text("T".to_owned()));
    assert_eq!(keys["tokenizer.chat_templates"], Value::Array(Array::Text(vec!["tool_use".to_owned()])));
}
