-- The weather stations miss some hours: those flights keep their row and have no weather.
-- weather has one row per station and hour in UTC, so no flight is doubled (flights_data.py checks that).
select
    clean.* exclude (time_hour),
    weather.temp, weather.wind_speed, weather.precip, weather.visib
from clean
left join weather
    on weather.origin = clean.origin
    and strptime(weather.time_hour, '%Y-%m-%dT%H:%M:%SZ') = clean.time_hour
