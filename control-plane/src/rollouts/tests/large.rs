//! Rollouts for very many devices: what one transaction has no room for, and what ten thousand cost.

use super::super::ledger::ORDERS;
use super::*;

#[test]
fn a_wave_that_is_too_large_for_one_transaction_goes_on_where_it_was_cut() {
    const DEVICES: usize = 2 * ORDERS + 100;
    let mut house = House::new(&[]);
    let enter = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {DEVICES})
         INSERT INTO devices (device, enrolled_s, key_sha256, audit_key, agent) SELECT 'box-' || n, 1, x'00', '', '' FROM numbers"
    );
    house.run(&enter);
    let signed = |house: &House| {
        let read = |connection: &crate::db::sql::Connection| {
            let mut statement =
                connection.prepare_cached("SELECT version, count(*) FROM desired GROUP BY 1 ORDER BY 1")?;
            let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        };
        house.fleet.inner.database.read(read).unwrap()
    };
    let [few, more, all] = [ORDERS, 2 * ORDERS, DEVICES].map(|count| i64::try_from(count).unwrap());
    let whole = WaveRequest { percent: Some(100), ..WaveRequest::default() };
    let asked = RolloutRequest { waves: vec![whole], deadline_s: 300, ..request("march") };
    house.fleet.start_rollout("ada", &asked).unwrap();
    assert_eq!(signed(&house), [(1, few)]);
    let mut driver = house.driver();
    assert_eq!((driver.turn().unwrap(), signed(&house)), (Turn::More, vec![(1, more)]));
    let mut driver = house.restart();
    assert_eq!((driver.turn().unwrap(), signed(&house)), (Turn::Done, vec![(1, all)]), "each of them once");
    assert_eq!(driver.turn().unwrap(), Turn::Done);
    assert_eq!(house.fleet.rollout("march").unwrap().waves[0].counts["assigned"], u64::try_from(all).unwrap());

    house.fleet.abort_rollout("march", true).unwrap();
    assert_eq!(signed(&house), [(1, all - few), (2, few)]);
    let mut driver = house.restart();
    assert_eq!((driver.turn().unwrap(), signed(&house)), (Turn::More, vec![(1, all - more), (2, more)]));
    let mut driver = house.restart();
    assert_eq!((driver.turn().unwrap(), signed(&house)), (Turn::Done, vec![(2, all)]), "each of them back, once");
    house.apply("box-7");
    driver.turn().unwrap();
    house.clock.advance(300);
    driver.turn().unwrap();
    let ended = house.fleet.rollout("march").unwrap();
    assert_eq!((ended.state.as_str(), ended.waves[0].rolled_back()), ("aborted", 1));
}

#[test]
#[ignore = "a measurement: `cargo test -p outpost-control --lib -- --ignored --nocapture ten_thousand`"]
#[expect(clippy::print_stderr, reason = "a measurement says what it measured")]
fn what_ten_thousand_devices_cost() {
    const DEVICES: usize = 10_000;
    let mut house = House::new(&[]);
    let names: Vec<String> = (0..DEVICES).map(|number| format!("box-{number:05}")).collect();
    let devices: Vec<DeviceId> = names.iter().map(|name| id(name)).collect();
    let sql = "INSERT INTO devices (device, enrolled_s, key_sha256, audit_key, agent) VALUES (?1, 1, x'00', '', '')";
    let enter = |connection: &crate::db::sql::Connection| {
        names.iter().try_for_each(|name| connection.execute(sql, [name]).map(|_| ()).map_err(Into::into))
    };
    house.fleet.inner.database.write(enter).unwrap();
    house.fleet.assign_all(&devices, &assigned("old")).unwrap();
    let timed = |what: &str, act: &mut dyn FnMut()| {
        let began = std::time::Instant::now();
        act();
        eprintln!("{what}: {} ms", began.elapsed().as_millis());
    };
    let asked = RolloutRequest {
        waves: [1, 99].map(|percent| WaveRequest { percent: Some(percent), ..WaveRequest::default() }).into(),
        soak_s: 0,
        ..request("march")
    };
    timed("start, 100 of 10,000 ordered", &mut || drop(house.fleet.start_rollout("ada", &asked).unwrap()));
    let mut driver = house.driver();
    timed("first look of a new leader", &mut || drop(driver.turn()));
    timed("a look at nothing new", &mut || drop(driver.turn()));
    for name in &names[..100] {
        house.apply(name);
    }
    let began = std::time::Instant::now();
    let (mut turns, mut longest) = (0, std::time::Duration::ZERO);
    while house.fleet.rollout("march").unwrap().waves[1].parts()[1].1 < 9_900 {
        let began = std::time::Instant::now();
        driver.turn().unwrap();
        (turns, longest) = (turns + 1, longest.max(began.elapsed()));
    }
    let (whole, longest) = (began.elapsed().as_millis(), longest.as_millis());
    eprintln!("100 reports heard, 9,900 devices ordered in {turns} transactions: {whole} ms, the longest {longest} ms");
    for name in &names[100..356] {
        house.apply(name);
    }
    timed("256 reports heard", &mut || drop(driver.turn()));
    timed("its page", &mut || drop(house.fleet.rollout("march").unwrap()));
    assert_eq!(house.fleet.rollout("march").unwrap().waves[1].parts()[0], ("done", 256));
}
