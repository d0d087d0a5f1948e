//! The fleet stays up, and tells how to try it.

use anyhow::{Context, Result};

use crate::chapters::Told;
use crate::narrator::print;

/// Prints the addresses, the tokens and three commands, then waits for Ctrl-C.
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

  operator token {operator}
  auditor token  {auditor}
  admin token of the control plane {admin}

Three things to try in another terminal:

  curl {base}/v1/chat/completions -H 'Authorization: Bearer {operator}' -H 'Content-Type: application/json' \\
    -d '{{\"model\": \"default\", \"messages\": [{{\"role\": \"user\", \"content\": \"What may an auditor do?\"}}]}}'

  python3 -c \"from openai import OpenAI; print(OpenAI(base_url='{base}/v1', api_key='{operator}').chat.completions.create(
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
