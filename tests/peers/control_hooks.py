"""What schemathesis does not send by itself: a fleet file is text like any other."""

import schemathesis

schemathesis.serializer.alias("application/toml", "text/plain")
