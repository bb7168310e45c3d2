select
    date,
    origin,
    dest,
    count(*) as flights,
    count(*) filter (cancelled) as cancelled,
    count(*) filter (diverted) as diverted,
    avg(arr_delay) as arr_delay,
    avg(air_time) as air_time,
    avg(wind_speed) as wind_speed,
    min(visib) as worst_visib
from flown
group by date, origin, dest
order by date, origin, dest
