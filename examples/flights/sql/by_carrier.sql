select
    date,
    carrier,
    any_value(airlines.name) as airline,
    count(*) as flights,
    count(*) filter (cancelled) as cancelled,
    count(*) filter (late) as late,
    avg(dep_delay) as dep_delay,
    avg(arr_delay) as arr_delay,
    max(arr_delay) as worst_arr_delay,
    sum(distance)::bigint as miles
from flown
left join airlines using (carrier)
group by date, carrier
order by date, carrier
