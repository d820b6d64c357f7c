module singleflight

go 1.19
