//! Model files on the command line: what they are, what a smaller one costs, what the model reads.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use outpost_tests::process::{binary, demo_model, output};
use serde_json::{Value, json};

/// Runs `outpost --json model …` and reads its answer.
fn model(arguments: &[&str]) -> Result<Value> {
    let all = [&["--json", "model"], arguments].concat();
    serde_json::from_str(&output(&binary("outpost")?, &all)?).context("the answer is no JSON")
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("the path is not UTF-8")
}

#[test]
fn a_smaller_variant_is_made_looked_at_compared_and_scored() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (large, small, text) = (demo_model(), folder.path().join("small.gguf"), folder.path().join("words.txt"));
    let (large, small) = (path(&large)?, path(&small)?);
    model(&["quantize", large, small, "--to", "Q4_0"])?;

    let found = model(&["inspect", small])?;
    ensure!(found["info"]["quantisation"] == "Q4_0" && found["class"] == "Tiny", "inspect says {found:#}");
    ensure!(found["tensors"].as_array().is_some_and(|tensors| tensors.len() == 68), "not every tensor is listed");
    ensure!(
        found["memory"][0]["total_bytes"].as_u64() > found["info"]["weight_bytes"].as_u64(),
        "no room for the cache"
    );

    let compared = model(&["compare", large, small])?;
    ensure!(compared["same_vocabulary"] == true, "compare says {compared:#}");
    let changed = compared["tensors"].as_array().context("no list of tensors")?;
    ensure!(changed.iter().any(|row| row["name"] == "blk.*.attn_q.weight"), "compare says {changed:#?}");

    fs::write(&text, "A device enrols with a one-time code. The admin makes the code. ".repeat(8))?;
    let scored = model(&["perplexity", small, "--text-file", path(&text)?, "--context", "32", "--against", large])?;
    let figure = |pointer: &str| scored.pointer(pointer).and_then(Value::as_f64).context(scored.to_string());
    ensure!(figure("/perplexity")? > 1.0 && figure("/against/perplexity")? > 1.0, "{scored:#}");
    ensure!(figure("/against/mean_divergence")? > 0.0 && figure("/against/top1_agreement")? > 0.5, "{scored:#}");
    Ok(())
}

#[test]
fn a_hugging_face_directory_becomes_one_file_and_one_without_a_model_is_refused_by_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, published) = (folder.path().join("model.gguf"), demo_model().with_file_name("convert/qwen3"));
    let made = model(&["convert", path(&published)?, path(&file)?])?;
    ensure!(made["architecture"] == "qwen3", "convert says {made:#}");
    let logits = model(&["logits", path(&file)?, "--tokens", "1,2,3"])?;
    ensure!(logits["logits"][0].as_array().is_some_and(|row| row.len() == 320), "{logits}");
    let refused = model(&["convert", path(folder.path())?, path(&file)?]).map_err(|e| e.to_string());
    ensure!(
        refused.as_ref().is_err_and(|said| said.contains("cannot read") && said.contains("model.safetensors")),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn a_conversation_is_shown_as_the_model_will_read_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (messages, template) = (folder.path().join("conversation.json"), folder.path().join("own.jinja"));
    fs::write(&messages, json!({"messages": [{"role": "user", "content": "Hello?"}], "greeting": "Hi"}).to_string())?;
    fs::write(&template, "{{ greeting }}: {% for m in messages %}{{ m.role }} said {{ m.content }}{% endfor %}")?;
    let shown = model(&["template", path(&template)?, "--messages", path(&messages)?])?;
    ensure!(shown["prompt"] == "Hi: user said Hello?", "{shown}");
    let shown = model(&["template", path(&demo_model())?, "--messages", path(&messages)?, "--no-generation-prompt"])?;
    ensure!(shown["prompt"] == "<|im_start|>user\nHello?<|im_end|>\n", "{shown}");
    Ok(())
}

#[test]
fn a_text_that_is_too_short_and_a_file_that_is_cut_short_are_refused_with_the_way_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (text, cut) = (folder.path().join("words.txt"), folder.path().join("cut.gguf"));
    fs::write(&text, "Too short.")?;
    let refused = model(&["perplexity", path(&demo_model())?, "--text-file", path(&text)?]).map_err(|e| e.to_string());
    ensure!(refused.as_ref().is_err_and(|said| said.contains("use a longer text")), "{refused:?}");
    let whole = fs::read(demo_model())?;
    fs::write(&cut, &whole[..whole.len() / 2])?;
    let refused = model(&["inspect", path(&cut)?]).map_err(|e| e.to_string());
    ensure!(refused.as_ref().is_err_and(|said| said.contains("cut.gguf")), "{refused:?}");
    Ok(())
}

#[test]
fn why_something_failed_is_said_once() -> Result<()> {
    let refused = model(&["inspect", "/nowhere/a.gguf"]).err().context("a file that is not there is read")?.to_string();
    ensure!(refused.matches("No such file").count() == 1 && refused.contains("/nowhere/a.gguf"), "{refused}");
    Ok(())
}
