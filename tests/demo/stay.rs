//! The fleet stays up, and tells how to try it.

use anyhow::{Context, Result};

use crate::chapters::Told;
use crate::narrator::print;

/// Prints the addresses, the tokens and what to try, then waits for Ctrl-C.
pub(crate) async fn until_interrupted(told: Told) -> Result<()> {
    let base = told.base()?;
    let state = told.state.root().display();
    print(&format!(
        "
The fleet stays up until you press Ctrl-C.

  agent API      {base}/v1
  control plane  https://{control}
  MQTT (TLS)     {mqtt}
  agent's state  {state}

  auditor token  {auditor}
  admin token of the control plane {admin}

Four lines to try in another terminal; the first is an operator's token:

  export OUTPOST_TOKEN={operator}

  curl {base}/v1/chat/completions -H \"Authorization: Bearer $OUTPOST_TOKEN\" -H 'Content-Type: application/json' \\
    -d '{{\"model\": \"default\", \"messages\": [{{\"role\": \"user\", \"content\": \"What may an auditor do?\"}}]}}'

  OPENAI_API_KEY=$OUTPOST_TOKEN OPENAI_BASE_URL={base}/v1 python3 -c \"from openai import OpenAI; print(OpenAI().chat.completions.create(
    model='default', messages=[{{'role': 'user', 'content': 'What happens when the disk is full?'}}]).choices[0].message.content)\"

  cargo run --release --bin outpost -- --state {state} chat \"How do I verify the audit log?\"

",
        control = told.fleet.http_address(),
        mqtt = told.fleet.mqtt_address(),
        operator = told.operator,
        auditor = told.auditor,
        admin = told.fleet.admin_token,
    ))?;
    tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
    told.end().await
}
