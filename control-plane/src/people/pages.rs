//! The pages of signing in: small, without scripts, and every word of them ours.

/// What a browser may do with them: show them, and send their forms back.
pub(crate) const POLICY: &str = "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The form that signs in, with a message above it.
pub(crate) fn sign_in(message: &str) -> String {
    let fields = r#"<p><label for="name">Name</label> <input id="name" name="name" autocomplete="username" required></p>
<p><label for="password">Password</label> <input id="password" name="password" type="password" autocomplete="current-password" required></p>
<p><label for="code">Code of your authenticator, if you have one</label> <input id="code" name="code" inputmode="numeric" autocomplete="one-time-code"></p>
<p><button>Sign in</button></p>"#;
    page("Sign in", message, "/login", fields)
}

/// The form that sets a password with a one-time code.
pub(crate) fn first(message: &str) -> String {
    let fields = r#"<p><label for="name">Name</label> <input id="name" name="name" autocomplete="username" required></p>
<p><label for="code">One-time code</label> <input id="code" name="code" autocomplete="off" required></p>
<p><label for="password">New password, 12 characters or more</label> <input id="password" name="password" type="password" autocomplete="new-password" minlength="12" required></p>
<p><button>Set password</button></p>"#;
    page("Set your password", message, "/login/first", fields)
}

fn page(title: &str, message: &str, action: &str, fields: &str) -> String {
    let message = message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let message = if message.is_empty() { message } else { format!("<p role=\"alert\">{message}</p>\n") };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<title>{title} - Outpost</title>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
         {message}<form method=\"post\" action=\"{action}\">\n{fields}\n</form>\n</main>\n</body>\n</html>\n"
    )
}
