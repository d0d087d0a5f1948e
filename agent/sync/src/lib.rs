//! The device's side of the fleet: MQTT link, outbox, desired and reported state, chunk transfer, enrolment.
